//! What the cores of a stack share: configuration, neighbours, which core owns a flow or listens on a port.
//!
//! What must hold: nothing here is needed for a packet of an established connection that arrives on its own core. Locks
//! are held for a few instructions, never across an event.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    hash::{BuildHasher, Hasher},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use ebb::sync::queue::Sender;
use hashbrown::HashMap;
use spin::Mutex;

use crate::{
    link::Frame,
    time::SECOND_NS,
    wire::{FlowKey, Ip, Mac},
};
use ebb_net::{CardConfiguration, Configuration, Report};

/// A keyed hash for tables that the network fills: multiply and fold (as in wyhash), with a secret start.
#[derive(Clone, Copy)]
pub struct Secret(pub u64, pub u64);

pub struct Fold {
    state: u64,
    key: u64,
}

#[inline]
fn multiply_fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    wide as u64 ^ (wide >> 64) as u64
}

impl BuildHasher for Secret {
    type Hasher = Fold;
    #[inline]
    fn build_hasher(&self) -> Fold {
        Fold {
            state: self.0,
            key: self.1 | 1,
        }
    }
}

impl Hasher for Fold {
    #[inline]
    fn finish(&self) -> u64 {
        multiply_fold(self.state, self.key ^ 0x9e37_79b9_7f4a_7c15)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    #[inline]
    fn write_u16(&mut self, n: u16) {
        self.write_u64(u64::from(n));
    }

    #[inline]
    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    #[inline]
    fn write_u64(&mut self, n: u64) {
        self.state = multiply_fold(self.state ^ n, self.key);
    }

    #[inline]
    fn write_u128(&mut self, n: u128) {
        self.write_u64(n as u64);
        self.write_u64((n >> 64) as u64);
    }
}

/// The two transports, as an index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// What one core tells another.
pub enum Message {
    /// A frame whose flow or listener is here, or that the slow path is to look at.
    Frame(Frame),
    /// Addresses, routes or neighbours have changed, or one is asked for.
    Reconfigured,
    /// Something that this core may have sent was not delivered.
    Undelivered(Box<Undelivered>),
}

/// An answer of ICMP to something that this machine has sent.
#[derive(Clone, Debug)]
pub struct Undelivered {
    pub protocol: Protocol,
    /// Of what was sent: `local` is this machine.
    pub key: FlowKey,
    /// The number of a TCP segment.
    pub seq: u32,
    pub report: Report,
}

/// Where packets go.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// Addresses, the lengths of their prefixes, and their cards.
    pub addresses: Vec<(Ip, u8, u8)>,
    /// Routers and their cards, those of the default route first.
    pub gateways: Vec<(Ip, u8)>,
}

/// A way to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The address to send from.
    pub source: Ip,
    pub hop: Hop,
    /// The card to send by.
    pub card: u8,
}

/// How to reach an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    Local,
    Via(Ip),
}

pub fn same_prefix(a: Ip, b: Ip, length: u8) -> bool {
    if a.is_v4() != b.is_v4() {
        return false;
    }
    let bits = if a.is_v4() {
        96 + u32::from(length.min(32))
    } else {
        u32::from(length.min(128))
    };
    bits == 0 || (a.0 ^ b.0) >> (128 - bits) == 0
}

/// Whether `ip` is the broadcast address of the network of one of this machine's addresses.
fn is_broadcast_of((own, length, _): (Ip, u8, u8), ip: Ip) -> bool {
    let host = u32::MAX.checked_shr(length.into()).unwrap_or(0);
    ip.is_v4() && own.is_v4() && length < 31 && ip.0 == own.0 | u128::from(host)
}

impl Routes {
    pub fn is_local(&self, ip: Ip) -> bool {
        ip.is_loopback() || self.addresses.iter().any(|(a, ..)| *a == ip)
    }

    /// The broadcast address of one of this machine's networks, or that of all.
    pub fn is_broadcast(&self, ip: Ip) -> bool {
        ip == Ip::v4(u32::MAX) || self.addresses.iter().any(|own| is_broadcast_of(*own, ip))
    }

    /// The card that has an address.
    fn card_of(&self, ip: Ip) -> Option<u8> {
        let mut own = self.addresses.iter();
        own.find(|(a, ..)| *a == ip).map(|(.., card)| *card)
    }

    /// The way to a group or to everybody: by the network whose broadcast address it is, by the card of the address to send
    /// from, else by that of the first address of the family.
    fn to_all(&self, to: Ip, by: Option<u8>, next: Ip) -> Option<Route> {
        let own = || self.addresses.iter();
        let of_family = |(a, ..): &&(Ip, u8, u8)| a.is_v4() == to.is_v4();
        let (source, _, card) = own()
            .find(|own| is_broadcast_of(**own, to))
            .or_else(|| own().find(|own| of_family(own) && Some(own.2) == by))
            .or_else(|| own().find(of_family))?;
        Some(Route {
            source: *source,
            hop: Hop::Via(next),
            card: by.unwrap_or(*card),
        })
    }

    /// The way to an address from one of this machine's, or (unspecified) from whichever is best: on the network that it is in,
    /// else by a router of the card that has the address to send from, else by the default route.
    pub fn route(&self, to: Ip, from: Ip) -> Option<Route> {
        let by = self.card_of(from);
        if self.is_broadcast(to) {
            return self.to_all(to, by, Ip::v4(u32::MAX));
        }
        if to.is_multicast() {
            return self.to_all(to, by, to);
        }
        if self.is_local(to) {
            return Some(Route {
                source: to,
                hop: Hop::Local,
                card: 0,
            });
        }
        let own = || self.addresses.iter();
        let is_near = |(a, n, _): &&(Ip, u8, u8)| same_prefix(*a, to, *n);
        let near = own()
            .find(|own| is_near(own) && Some(own.2) == by)
            .or_else(|| own().find(is_near));
        if let Some((source, _, card)) = near {
            return Some(Route {
                source: *source,
                hop: Hop::Via(to),
                card: *card,
            });
        }
        let routers = || {
            let all = self.gateways.iter();
            all.filter(|(router, _)| router.is_v4() == to.is_v4())
        };
        let (router, card) = routers()
            .find(|(_, card)| Some(*card) == by)
            .or_else(|| routers().next())?;
        let of_card = |own: &&(Ip, u8, u8)| own.2 == *card && own.0.is_v4() == to.is_v4();
        // An address of the link alone reaches nothing beyond it.
        let (source, ..) = own()
            .filter(of_card)
            .find(|(a, n, _)| same_prefix(*a, *router, *n) && !a.is_link_local())
            .or_else(|| own().filter(of_card).find(|(a, ..)| !a.is_link_local()))
            .or_else(|| own().find(of_card))
            .or_else(|| own().find(|(a, ..)| a.is_v4() == to.is_v4()))?;
        Some(Route {
            source: *source,
            hop: Hop::Via(*router),
            card: *card,
        })
    }

    /// Whether a packet is for this machine, and from it only if this machine has sent it (RFC 1122, 3.2.1.3).
    pub fn is_plausible(&self, key: &FlowKey, local: bool) -> bool {
        let outside = !key.local.is_loopback() && !self.is_local(key.remote);
        self.is_local(key.local) && (local || outside)
    }

    /// An address that this machine sends from, if `ip` is one; the unspecified address stands for any.
    pub fn accepts(&self, ip: Ip) -> bool {
        ip.is_unspecified() || self.is_local(ip)
    }
}

/// The cards of a machine, by number, that of the default route first.
fn in_order(cards: &[Configuration], default: usize) -> impl Iterator<Item = (u8, &Configuration)> {
    let numbered = || (0_u8..).zip(cards);
    let is_default = move |(n, _): &(u8, &Configuration)| usize::from(*n) == default;
    let others = numbered().filter(move |card| !is_default(card));
    numbered().filter(is_default).chain(others)
}

fn routes(cards: &[Configuration], default: usize) -> Routes {
    let addresses = (0_u8..).zip(cards).flat_map(|(n, card)| {
        let own = card.addresses.iter();
        own.map(move |(ip, length)| (Ip::from(*ip), *length, n))
    });
    let gateways = in_order(cards, default)
        .flat_map(|(n, card)| card.gateways.iter().map(move |g| (Ip::from(*g), n)));
    Routes {
        addresses: addresses.collect(),
        gateways: gateways.collect(),
    }
}

/// What the machine knows: all that its cards do.
fn whole(cards: &[Configuration], default: usize) -> Configuration {
    let all = || cards.iter();
    let of_order = || in_order(cards, default).map(|(_, card)| card);
    let mut dns_servers = Vec::new();
    for server in of_order().flat_map(|card| &card.dns_servers) {
        if !dns_servers.contains(server) {
            dns_servers.push(*server);
        }
    }
    let has_address = |card: &&Configuration| card.hardware_address.is_some();
    let each = all().filter(has_address).map(|card| CardConfiguration {
        hardware_address: card.hardware_address.unwrap_or_default(),
        mtu: card.mtu,
        addresses: card.addresses.clone(),
        gateways: card.gateways.clone(),
    });
    Configuration {
        addresses: all().flat_map(|card| card.addresses.clone()).collect(),
        gateways: of_order().flat_map(|card| card.gateways.clone()).collect(),
        dns_servers,
        hardware_address: cards.first().and_then(|card| card.hardware_address),
        mtu: cards.first().map_or(0, |card| card.mtu),
        settled_v4: all().all(|card| card.settled_v4),
        settled_v6: all().all(|card| card.settled_v6),
        cards: each.collect(),
    }
}

/// How long an entry of the neighbour table is believed without being heard of.
const NEIGHBOUR_LIFE_NS: u64 = 120 * SECOND_NS;
const MAX_NEIGHBOURS: usize = 4096;
const SHARDS: usize = 16;
/// Most addresses whose neighbours are asked for at the same time.
const MAX_WANTED: usize = 64;

/// How long it is believed that a path takes less than its first link (RFC 8201, 5.2, has ten minutes).
const PATH_MTU_LIFE_NS: u64 = 600 * SECOND_NS;
const MAX_PATH_MTUS: usize = 1024;
/// What is believed of a path at least: a forged answer must not make packets tiny (Linux' `min_pmtu`; RFC 8200, 5).
const MIN_MTU_V4: usize = 552;
const MIN_MTU_V6: usize = 1280;
/// Most groups that are heard.
const MAX_GROUPS: usize = 30;

/// Hardware addresses, and until when each is believed, by card and address.
type Neighbours = HashMap<(u8, Ip), (Mac, u64), Secret>;

pub struct Shared {
    pub cores: usize,
    pub secret: Secret,
    routes: Mutex<Arc<Routes>>,
    /// Raised whenever routes change.
    pub version: AtomicU64,
    pub configuration: Mutex<Configuration>,
    /// What each card knows of its own, and whose router is that of the default route.
    cards: Mutex<(Vec<Configuration>, usize)>,
    neighbours: Mutex<Neighbours>,
    /// Addresses to be asked for, by the core of the slow path, and the cards that ask.
    pub wanted: Mutex<Vec<(u8, Ip)>>,
    /// Which core has a flow. Empty on a machine with one core.
    flows: [Mutex<HashMap<FlowKey, u8, Secret>>; SHARDS],
    /// Cores that have bound a port, as bits.
    ports: Mutex<HashMap<(Protocol, u16), u64, Secret>>,
    /// Paths that take less than their first link, and until when that is believed.
    path_mtus: Mutex<HashMap<Ip, (usize, u64), Secret>>,
    /// There are some.
    has_path_mtus: AtomicBool,
    /// Groups that sockets hear, and how many hear each.
    groups: Mutex<Vec<(Ip, u32)>>,
    mailboxes: Vec<Sender<Message>>,
}

impl Shared {
    pub fn new(secret: Secret, mailboxes: Vec<Sender<Message>>) -> Self {
        Self {
            cores: mailboxes.len(),
            secret,
            routes: Mutex::default(),
            version: AtomicU64::new(1),
            configuration: Mutex::default(),
            cards: Mutex::new((alloc::vec![Configuration::default()], 0)),
            neighbours: Mutex::new(HashMap::with_hasher(secret)),
            wanted: Mutex::default(),
            flows: core::array::from_fn(|_| Mutex::new(HashMap::with_hasher(secret))),
            ports: Mutex::new(HashMap::with_hasher(secret)),
            path_mtus: Mutex::new(HashMap::with_hasher(secret)),
            has_path_mtus: AtomicBool::new(false),
            groups: Mutex::default(),
            mailboxes,
        }
    }

    pub fn hash(&self, key: &FlowKey) -> u64 {
        self.secret.hash_one(key)
    }

    /// Bytes of the tables, which keep the size that they once needed.
    pub fn tables(&self) -> u64 {
        let flows = self
            .flows
            .iter()
            .map(|shard| shard.lock().allocation_size());
        let bytes = flows.sum::<usize>()
            + self.neighbours.lock().allocation_size()
            + self.ports.lock().allocation_size();
        bytes as u64
    }

    // --- Configuration ----------------------------------------------------------------------------------

    pub fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.routes.lock())
    }

    /// There are so many cards, and the router of one of them is that of the default route, if it has one.
    pub fn set_cards(&self, count: usize, default: usize) {
        *self.cards.lock() = (alloc::vec![Configuration::default(); count.max(1)], default);
    }

    /// Sets addresses and routers of a card, and tells every core.
    pub fn configure(&self, card: u8, configuration: Configuration) {
        let (routes, whole) = {
            let mut cards = self.cards.lock();
            let (all, default) = &mut *cards;
            if let Some(known) = all.get_mut(usize::from(card)) {
                *known = configuration;
            }
            (routes(all, *default), whole(all, *default))
        };
        *self.routes.lock() = Arc::new(routes);
        *self.configuration.lock() = whole;
        self.version.fetch_add(1, Ordering::Release);
        self.tell_all();
    }

    // --- Neighbours -------------------------------------------------------------------------------------

    pub fn neighbour(&self, card: u8, ip: Ip, now_ns: u64) -> Option<Mac> {
        let table = self.neighbours.lock();
        let (mac, until) = table.get(&(card, ip))?;
        (*until > now_ns).then_some(*mac)
    }

    /// Remembers where an address is. `Solicited` ones enter the table; others only refresh it.
    pub fn learn(&self, card: u8, ip: Ip, mac: Mac, now_ns: u64) {
        if mac[0] & 1 == 1 || ip.is_unspecified() || ip.is_multicast() {
            return;
        }
        let asked = {
            let mut wanted = self.wanted.lock();
            let before = wanted.len();
            wanted.retain(|w| *w != (card, ip));
            wanted.len() != before
        };
        let mut table = self.neighbours.lock();
        if table.len() >= MAX_NEIGHBOURS {
            table.retain(|_, (_, until)| *until > now_ns);
            if table.len() >= MAX_NEIGHBOURS {
                return;
            }
        }
        table.insert((card, ip), (mac, now_ns + NEIGHBOUR_LIFE_NS));
        drop(table);
        if asked {
            self.tell_all();
        }
    }

    /// Has an address asked for. True when it is new.
    pub fn want(&self, card: u8, ip: Ip) -> bool {
        let mut wanted = self.wanted.lock();
        if wanted.contains(&(card, ip)) || wanted.len() >= MAX_WANTED {
            return false;
        }
        wanted.push((card, ip));
        true
    }

    // --- Paths and groups ---------------------------------------------------------------------------------

    /// The longest packet on a path, if it takes less than its first link.
    #[inline]
    pub fn path_mtu(&self, to: Ip, now_ns: u64) -> Option<usize> {
        if !self.has_path_mtus.load(Ordering::Relaxed) {
            return None;
        }
        let table = self.path_mtus.lock();
        let (mtu, until_ns) = table.get(&to)?;
        (*until_ns > now_ns).then_some(*mtu)
    }

    /// Somebody on the path takes packets of at most `mtu` bytes. Gives what is believed.
    pub fn lower_path_mtu(&self, to: Ip, mtu: usize, now_ns: u64) -> usize {
        let least = if to.is_v4() { MIN_MTU_V4 } else { MIN_MTU_V6 };
        let mtu = mtu.max(least);
        let mut table = self.path_mtus.lock();
        if table.len() >= MAX_PATH_MTUS {
            table.retain(|_, (_, until_ns)| *until_ns > now_ns);
        }
        if table.len() < MAX_PATH_MTUS || table.contains_key(&to) {
            table.insert(to, (mtu, now_ns + PATH_MTU_LIFE_NS));
            self.has_path_mtus.store(true, Ordering::Relaxed);
        }
        mtu
    }

    /// A socket hears a group. False when there are too many.
    pub fn join(&self, group: Ip) -> bool {
        let mut groups = self.groups.lock();
        match groups.iter().position(|(g, _)| *g == group) {
            Some(n) => groups[n].1 += 1,
            None if groups.len() >= MAX_GROUPS => return false,
            None => groups.push((group, 1)),
        }
        drop(groups);
        self.tell(0, Message::Reconfigured);
        true
    }

    /// One socket less hears a group.
    pub fn leave(&self, group: Ip) {
        let mut groups = self.groups.lock();
        if let Some((_, count)) = groups.iter_mut().find(|(g, _)| *g == group) {
            *count -= 1;
        }
        groups.retain(|(_, count)| *count > 0);
        drop(groups);
        self.tell(0, Message::Reconfigured);
    }

    /// Whether a socket hears a group; that of all hosts is heard by all.
    pub fn hears(&self, group: Ip) -> bool {
        let all_hosts = [Ip::v4(0xe000_0001), Ip(0xff02 << 112 | 1)];
        all_hosts.contains(&group) || self.groups.lock().iter().any(|(g, _)| *g == group)
    }

    /// The groups that sockets hear.
    pub fn groups(&self) -> Vec<Ip> {
        self.groups.lock().iter().map(|(g, _)| *g).collect()
    }

    // --- Which core -------------------------------------------------------------------------------------

    fn shard(&self, key: &FlowKey) -> &Mutex<HashMap<FlowKey, u8, Secret>> {
        &self.flows[self.hash(key) as usize % SHARDS]
    }

    pub fn claim_flow(&self, key: &FlowKey, core: usize) {
        if self.cores > 1 {
            self.shard(key).lock().insert(*key, core as u8);
        }
    }

    pub fn release_flow(&self, key: &FlowKey) {
        if self.cores > 1 {
            self.shard(key).lock().remove(key);
        }
    }

    pub fn owner(&self, key: &FlowKey) -> Option<usize> {
        if self.cores == 1 {
            return None;
        }
        self.shard(key)
            .lock()
            .get(key)
            .map(|core| usize::from(*core))
    }

    pub fn claim_port(&self, protocol: Protocol, port: u16, core: usize) {
        *self.ports.lock().entry((protocol, port)).or_default() |= 1 << core;
    }

    pub fn release_port(&self, protocol: Protocol, port: u16, core: usize) {
        let mut ports = self.ports.lock();
        if let Some(cores) = ports.get_mut(&(protocol, port)) {
            *cores &= !(1 << core);
            if *cores == 0 {
                ports.remove(&(protocol, port));
            }
        }
    }

    pub fn is_port_free(&self, protocol: Protocol, port: u16) -> bool {
        !self.ports.lock().contains_key(&(protocol, port))
    }

    /// The cores that have bound a port, as bits.
    pub fn cores_of(&self, protocol: Protocol, port: u16) -> u64 {
        let ports = self.ports.lock();
        ports.get(&(protocol, port)).copied().unwrap_or(0)
    }

    /// The core, of those that have bound the port, which a flow without an owner goes to.
    pub fn core_for(&self, protocol: Protocol, key: &FlowKey) -> Option<usize> {
        let cores = *self.ports.lock().get(&(protocol, key.local_port))?;
        let mut nth = self.hash(key) as u32 % cores.count_ones();
        let mut left = cores;
        while nth > 0 {
            left &= left - 1;
            nth -= 1;
        }
        Some(left.trailing_zeros() as usize)
    }

    // --- Messages -----------------------------------------------------------------------------------------

    /// Sends to a core. A frame that its mailbox has no room for is lost, as on a wire.
    pub fn tell(&self, core: usize, message: Message) -> bool {
        self.mailboxes
            .get(core)
            .is_some_and(|m| m.push(message).is_ok())
    }

    pub fn tell_all(&self) {
        for core in 0..self.cores {
            self.tell(core, Message::Reconfigured);
        }
    }
}
