//! Names to addresses: a DNS client (RFC 1035) over the sockets, the same on both platforms.
//!
//! Answers are believed if they come from the server that was asked, to the port it was asked from, with the number and
//! the question that were sent. What an answer may hold is bounded.

use alloc::{vec, vec::Vec};
use core::{
    future::poll_fn,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    task::Poll,
    time::Duration,
};

use ebb::{EbbRef, platform::Entropy, time};
use smoltcp::wire::{
    DnsFlags, DnsOpcode, DnsPacket, DnsQueryType, DnsQuestion, DnsRcode, DnsRecord, DnsRecordData,
    DnsRepr,
};

use crate::{
    Configuration, Error, NetStack, Result, backend::stack, configuration, tcp::TcpStream,
    udp::UdpSocket,
};

const PORT: u16 = 53;
/// Most addresses taken from one answer.
const MOST: usize = 32;
/// The longest answer over UDP without extensions; longer ones come over TCP.
const LONGEST: usize = 512;

/// Whom to ask, and how long to wait.
#[derive(Clone, Debug)]
pub struct Resolver {
    /// Servers, in the order in which they are asked.
    pub servers: Vec<SocketAddr>,
    /// How long one server has for its answer.
    pub timeout: Duration,
    /// How often the list is gone through.
    pub attempts: u32,
}

/// The addresses of a host name, by the servers that the machine's configuration names. An address in text form is its own
/// answer; `localhost` needs no server. Waits up to ten seconds for a machine that is not configured yet.
///
/// # Errors
/// [`Error::NameNotFound`], [`Error::TimedOut`] when no server answers, [`Error::NetworkUnreachable`]
/// when the machine knows no server.
pub async fn resolve(name: &str) -> Result<Vec<IpAddr>> {
    if let Some(known) = without_server(name) {
        return Ok(known);
    }
    let servers = time::timeout(Duration::from_secs(10), servers()).await;
    let servers = servers.map_err(|_| Error::NetworkUnreachable)?;
    Resolver::new(servers.into_iter().map(|ip| SocketAddr::new(ip, PORT)))
        .resolve(name)
        .await
}

fn without_server(name: &str) -> Option<Vec<IpAddr>> {
    if let Ok(address) = name.parse() {
        return Some(vec![address]);
    }
    name.eq_ignore_ascii_case("localhost")
        .then(|| vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
}

/// Waits until the configuration names a server.
async fn servers() -> Vec<IpAddr> {
    poll_fn(|cx| {
        let Configuration { dns_servers, .. } = configuration();
        if dns_servers.is_empty() {
            stack().register_configuration(cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(dns_servers)
    })
    .await
}

/// What an answer says.
enum Answer {
    Addresses(Vec<IpAddr>),
    /// It did not fit.
    Truncated,
    /// The server cannot tell.
    Failed,
}

impl Resolver {
    /// Asks these servers, each for up to two seconds, twice.
    pub fn new(servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            servers: servers.into_iter().collect(),
            timeout: Duration::from_secs(2),
            attempts: 2,
        }
    }

    /// The addresses of a host name, IPv4 first.
    ///
    /// # Errors
    /// As [`resolve`].
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>> {
        if let Some(known) = without_server(name) {
            return Ok(known);
        }
        let labels = encode_name(name).ok_or(Error::InvalidInput)?;
        if self.servers.is_empty() {
            return Err(Error::NetworkUnreachable);
        }
        let mut worst = Error::TimedOut;
        for _ in 0..self.attempts.max(1) {
            for server in &self.servers {
                let asked = time::timeout(self.timeout, ask(*server, &labels)).await;
                match asked {
                    Ok(Ok(addresses)) if addresses.is_empty() => return Err(Error::NameNotFound),
                    Ok(Ok(addresses)) => return Ok(addresses),
                    Ok(Err(error)) => worst = error,
                    Err(_) => {}
                }
            }
        }
        Err(worst)
    }
}

/// A name as labels with their lengths.
fn encode_name(name: &str) -> Option<Vec<u8>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut out = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 || !label.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    (out.len() <= 255).then_some(out)
}

fn question(id: u16, labels: &[u8], kind: DnsQueryType) -> Vec<u8> {
    let repr = DnsRepr {
        transaction_id: id,
        opcode: DnsOpcode::Query,
        flags: DnsFlags::RECURSION_DESIRED,
        question: DnsQuestion {
            name: labels,
            type_: kind,
        },
    };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut DnsPacket::new_unchecked(&mut bytes[..]));
    bytes
}

/// Asks one server for both families.
async fn ask(server: SocketAddr, labels: &[u8]) -> Result<Vec<IpAddr>> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0))?;
    let mut ids = [0; 4];
    EbbRef::<dyn Entropy>::get().fill(&mut ids);
    let first = u16::from_le_bytes([ids[0], ids[1]]);
    let second = match u16::from_le_bytes([ids[2], ids[3]]) {
        id if id == first => !id,
        id => id,
    };
    let kinds = [(first, DnsQueryType::A), (second, DnsQueryType::Aaaa)];
    for (id, kind) in kinds {
        socket.send_to(&question(id, labels, kind), server).await?;
    }
    let mut answers: [Option<Vec<IpAddr>>; 2] = [None, None];
    while answers.iter().any(Option::is_none) {
        let received = socket.recv_with(|bytes, from| {
            if from != server || bytes.len() > LONGEST {
                return None;
            }
            kinds
                .iter()
                .position(|(id, kind)| is_answer(bytes, *id, labels, *kind))
                .map(|n| (n, read_answer(bytes)))
        });
        let Some((n, answer)) = received.await? else {
            continue;
        };
        answers[n] = Some(match answer {
            Answer::Addresses(addresses) => addresses,
            Answer::Truncated => ask_by_tcp(server, kinds[n].0, labels, kinds[n].1).await?,
            Answer::Failed => return Err(Error::NameNotFound),
        });
    }
    Ok(answers.into_iter().flatten().flatten().collect())
}

async fn ask_by_tcp(
    server: SocketAddr,
    id: u16,
    labels: &[u8],
    kind: DnsQueryType,
) -> Result<Vec<IpAddr>> {
    let stream = TcpStream::connect(server).await?;
    let query = question(id, labels, kind);
    let mut message = (query.len() as u16).to_be_bytes().to_vec();
    message.extend_from_slice(&query);
    stream.write_all(&message).await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).await?;
    if !is_answer(&answer, id, labels, kind) {
        return Err(Error::NameNotFound);
    }
    match read_answer(&answer) {
        Answer::Addresses(addresses) => Ok(addresses),
        Answer::Truncated | Answer::Failed => Err(Error::NameNotFound),
    }
}

/// Reads `data` as an answer, and its beginning as a name.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    let labels = [1, b'a', 2, b'b', b'c', 0];
    let _ = is_answer(data, 0x1234, &labels, DnsQueryType::A);
    if let Answer::Addresses(addresses) = read_answer(data) {
        assert!(addresses.len() <= MOST);
    }
    if let Ok(name) = core::str::from_utf8(&data[..data.len().min(300)]) {
        assert!(encode_name(name).is_none_or(|labels| labels.len() <= 255));
    }
}

/// Whether a message answers a question.
fn is_answer(bytes: &[u8], id: u16, labels: &[u8], kind: DnsQueryType) -> bool {
    let Ok(packet) = DnsPacket::new_checked(bytes) else {
        return false;
    };
    if packet.transaction_id() != id
        || !packet.flags().contains(DnsFlags::RESPONSE)
        || packet.opcode() != DnsOpcode::Query
        || packet.question_count() != 1
    {
        return false;
    }
    match DnsQuestion::parse(packet.payload()) {
        Ok((_, question)) => question.type_ == kind && question.name.eq_ignore_ascii_case(labels),
        Err(_) => false,
    }
}

/// The addresses in an answer. The server has followed the aliases.
fn read_answer(bytes: &[u8]) -> Answer {
    let Ok(packet) = DnsPacket::new_checked(bytes) else {
        return Answer::Failed;
    };
    if packet.flags().contains(DnsFlags::TRUNCATED) {
        return Answer::Truncated;
    }
    match packet.rcode() {
        DnsRcode::NoError => {}
        DnsRcode::NXDomain => return Answer::Addresses(Vec::new()),
        _ => return Answer::Failed,
    }
    let Ok((mut rest, _)) = DnsQuestion::parse(packet.payload()) else {
        return Answer::Failed;
    };
    let mut addresses = Vec::new();
    for _ in 0..packet.answer_record_count() {
        let Ok((next, record)) = DnsRecord::parse(rest) else {
            break;
        };
        rest = next;
        match record.data {
            DnsRecordData::A(ip) => addresses.push(ip.into()),
            DnsRecordData::Aaaa(ip) => addresses.push(ip.into()),
            _ => {}
        }
        if addresses.len() >= MOST {
            break;
        }
    }
    Answer::Addresses(addresses)
}
