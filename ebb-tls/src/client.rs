//! The side that connects.

use alloc::{collections::VecDeque, format, string::ToString, sync::Arc, vec::Vec};
use core::{fmt, net::SocketAddr, time::Duration};

use ebb::time::timeout;
use ebb_net::{Stream, tcp::TcpStream};
use rustls::{
    ClientConfig, NamedGroup, RootCertStore,
    client::{
        ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
        UnbufferedClientConnection,
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::TLS13,
};
use spin::Mutex;

use crate::{Error, TlsStream, engine::Side, primitives, time::Clock};

/// Sessions that a client keeps, of all servers together.
const SESSIONS: usize = 256;
/// Of one server.
const SESSIONS_OF_ONE: usize = 8;

/// How a client is to behave.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Whom it trusts: certificates as PEM, one behind the other.
    pub roots: Vec<u8>,
    /// Protocols that it speaks (ALPN), the preferred one first.
    pub alpn: Vec<Vec<u8>>,
    /// How long connecting and the handshake may take, each.
    pub handshake_time: Duration,
    /// The ciphers; [`provider`](crate::provider) unless said otherwise.
    pub provider: Arc<CryptoProvider>,
}

impl ClientSettings {
    /// The usual ones: 10 s for a handshake, no protocol by name.
    #[must_use]
    pub fn new(roots: &[u8]) -> Self {
        Self {
            roots: roots.to_vec(),
            alpn: Vec::new(),
            handshake_time: Duration::from_secs(10),
            provider: primitives::provider(),
        }
    }
}

/// Makes secure connections to servers, and remembers their sessions. Clones share what they remember and travel to other cores.
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    handshake_time: Duration,
}

impl Connector {
    /// With these settings.
    ///
    /// # Errors
    /// [`Error::Identity`] when `roots` cannot be read; when the provider cannot do TLS 1.3.
    pub fn new(settings: ClientSettings) -> Result<Self, Error> {
        let wrong = |why: &dyn fmt::Display| {
            Error::Identity(format!("the certificates to trust cannot be read: {why}"))
        };
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&settings.roots) {
            let root = root.map_err(|why| wrong(&why))?;
            roots.add(root).map_err(|why| wrong(&why))?;
        }
        if roots.is_empty() {
            return Err(wrong(&"there is none"));
        }
        let mut config = ClientConfig::builder_with_details(settings.provider, Arc::new(Clock))
            .with_protocol_versions(&[&TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = settings.alpn;
        config.resumption = Resumption::store(Arc::new(Sessions::default()));
        Ok(Self {
            config: Arc::new(config),
            handshake_time: settings.handshake_time,
        })
    }

    /// Connects to `address`, whose certificate has to be for `name`: a DNS name or an IP address.
    ///
    /// # Errors
    /// Why there is no connection, or why the server is not trusted.
    pub async fn connect(&self, address: SocketAddr, name: &str) -> Result<TlsStream, Error> {
        let tcp = timeout(self.handshake_time, TcpStream::connect(address)).await;
        self.over(tcp.map_err(|_| Error::Slow)??, name).await
    }

    /// As [`connect`](Self::connect), over a connection that is there.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn over(&self, below: impl Into<Stream>, name: &str) -> Result<TlsStream, Error> {
        let name = ServerName::try_from(name.to_string())
            .map_err(|_| Error::Identity(format!("`{name}` is no name of a server")))?;
        let client = UnbufferedClientConnection::new(Arc::clone(&self.config), name)?;
        let opening = TlsStream::open(below.into(), Side::Client(client.into()));
        timeout(self.handshake_time, opening)
            .await
            .map_err(|_| Error::Slow)?
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector(..)")
    }
}

/// What a client knows of a server.
enum Known {
    Group(NamedGroup),
    Ticket(Tls13ClientSessionValue),
}

/// Oldest first; the oldest goes when there are too many.
#[derive(Default)]
struct Sessions(Mutex<VecDeque<(ServerName<'static>, Known)>>);

impl Sessions {
    fn insert(&self, name: ServerName<'static>, known: Known, most: usize) {
        let mut all = self.0.lock();
        let same = |(n, k): &(ServerName<'static>, Known)| {
            *n == name && core::mem::discriminant(k) == core::mem::discriminant(&known)
        };
        if all.iter().filter(|entry| same(entry)).count() >= most
            && let Some(at) = all.iter().position(same)
        {
            all.remove(at);
        }
        if all.len() >= SESSIONS {
            all.pop_front();
        }
        all.push_back((name, known));
    }
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.insert(name, Known::Group(group), 1);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        let all = self.0.lock();
        all.iter().rev().find_map(|(n, known)| match known {
            Known::Group(group) if n == name => Some(*group),
            _ => None,
        })
    }

    // TLS 1.2 is not spoken.
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.insert(name, Known::Ticket(value), SESSIONS_OF_ONE);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut all = self.0.lock();
        let at = all
            .iter()
            .rposition(|(n, known)| n == name && matches!(known, Known::Ticket(_)))?;
        match all.remove(at)?.1 {
            Known::Ticket(ticket) => Some(ticket),
            Known::Group(_) => None,
        }
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions(..)")
    }
}
