//! Several cards: which one a packet leaves by and with which address, and what the machine as a whole knows.

use alloc::{vec, vec::Vec};
use core::net::IpAddr;

use crate::{
    address::Address,
    shared::{Hop, Secret, Shared},
    wire::Ip,
};
use ebb::sync::queue;
use ebb_net::Configuration;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn own(text: &str) -> Ip {
    Ip::from(ip(text))
}

/// A card with addresses of two networks of its own and a router in each.
fn card(n: u8) -> Configuration {
    Configuration {
        addresses: vec![
            (ip("fe80::15"), 64),
            (ip(&alloc::format!("10.0.{n}.15")), 24),
            (ip(&alloc::format!("fec0:0:0:{n}::15")), 64),
        ],
        gateways: vec![ip(&alloc::format!("10.0.{n}.2")), ip("fe80::2")],
        dns_servers: vec![ip(&alloc::format!("10.0.{n}.3")), ip("9.9.9.9")],
        hardware_address: Some([2, 0, 0, 0, 0, n]),
        mtu: 1500 - usize::from(n),
        settled_v4: true,
        settled_v6: true,
        cards: Vec::new(),
    }
}

fn shared(default: usize) -> Shared {
    let shared = Shared::new(Secret(1, 2), vec![queue::queue(64).0]);
    shared.set_cards(2, default);
    shared.configure(0, card(2));
    assert!(!shared.configuration.lock().settled_v4, "the other is not");
    shared.configure(1, card(3));
    shared
}

/// The address to send from, the next hop, and the card.
#[track_caller]
fn way(shared: &Shared, to: &str, from: Option<&str>) -> (IpAddr, Option<IpAddr>, u8) {
    let from = from.map_or(Ip::UNSPECIFIED, own);
    let route = shared.routes().route(own(to), from).expect("a way");
    let hop = match route.hop {
        Hop::Local => None,
        Hop::Via(hop) => Some(hop.into()),
    };
    (route.source.into(), hop, route.card)
}

#[test]
fn a_network_is_reached_by_the_card_that_is_in_it_and_the_world_by_the_default_routers() {
    let shared = shared(0);
    let (a, b) = (ip("10.0.2.15"), ip("10.0.3.15"));
    assert_eq!(way(&shared, "10.0.2.9", None), (a, Some(ip("10.0.2.9")), 0));
    assert_eq!(way(&shared, "10.0.3.9", None), (b, Some(ip("10.0.3.9")), 1));
    assert_eq!(
        way(&shared, "192.0.2.1", None),
        (a, Some(ip("10.0.2.2")), 0)
    );
    let v6 = way(&shared, "2001:db8::1", None);
    assert_eq!(v6, (ip("fec0:0:0:2::15"), Some(ip("fe80::2")), 0));
    let near = way(&shared, "fec0:0:0:3::9", None);
    assert_eq!(near, (ip("fec0:0:0:3::15"), Some(ip("fec0:0:0:3::9")), 1));
    assert_eq!(way(&shared, "10.0.3.15", None), (b, None, 0));
}

#[test]
fn what_has_an_address_leaves_by_the_router_of_its_card() {
    let shared = shared(0);
    let (_, hop, card) = way(&shared, "192.0.2.1", Some("10.0.3.15"));
    assert_eq!((hop, card), (Some(ip("10.0.3.2")), 1));
    // A neighbour needs no router, whatever the address.
    let (_, hop, card) = way(&shared, "10.0.2.9", Some("10.0.3.15"));
    assert_eq!((hop, card), (Some(ip("10.0.2.9")), 0));
    // An address that both links may have is one of the link that is sent from.
    let (_, _, card) = way(&shared, "fe80::9", Some("fec0:0:0:3::15"));
    assert_eq!(card, 1);
}

#[test]
fn the_default_route_is_that_of_the_card_that_is_chosen() {
    let shared = shared(1);
    let (source, hop, card) = way(&shared, "192.0.2.1", None);
    assert_eq!(
        (source, hop, card),
        (ip("10.0.3.15"), Some(ip("10.0.3.2")), 1)
    );
    let known = shared.configuration.lock();
    assert_eq!(known.gateways[0], ip("10.0.3.2"));
    assert_eq!(known.dns_servers[0], ip("10.0.3.3"));
}

#[test]
fn what_is_for_all_goes_to_the_network_that_it_names() {
    let shared = shared(0);
    assert_eq!(way(&shared, "10.0.3.255", None).2, 1);
    assert_eq!(way(&shared, "255.255.255.255", None).2, 0);
    assert_eq!(way(&shared, "255.255.255.255", Some("10.0.3.15")).2, 1);
    let group = way(&shared, "224.0.0.251", Some("10.0.3.15"));
    assert_eq!((group.0, group.2), (ip("10.0.3.15"), 1));
}

#[test]
fn the_machine_knows_what_all_its_cards_know() {
    let shared = shared(0);
    let known = shared.configuration.lock();
    assert_eq!(known.addresses.len(), 6);
    assert!(known.settled_v4 && known.settled_v6);
    assert_eq!(
        known.dns_servers,
        ["10.0.2.3", "9.9.9.9", "10.0.3.3"].map(ip)
    );
    assert_eq!(
        (known.hardware_address, known.mtu),
        (Some([2, 0, 0, 0, 0, 2]), 1498)
    );
    let cards: Vec<_> = known
        .cards
        .iter()
        .map(|c| (c.hardware_address[5], c.mtu))
        .collect();
    assert_eq!(cards, [(2, 1498), (3, 1497)]);
}

#[test]
fn neighbours_of_two_links_with_one_address_are_two() {
    let shared = shared(0);
    let (far, now_ns) = (own("fe80::2"), 1);
    shared.learn(0, far, [2, 0, 0, 0, 1, 0], now_ns);
    shared.learn(1, far, [2, 0, 0, 0, 1, 1], now_ns);
    assert_eq!(shared.neighbour(0, far, now_ns), Some([2, 0, 0, 0, 1, 0]));
    assert_eq!(shared.neighbour(1, far, now_ns), Some([2, 0, 0, 0, 1, 1]));
    assert!(shared.want(0, own("10.0.2.9")) && shared.want(1, own("10.0.2.9")));
}

#[test]
fn the_option_has_an_address_for_each_card_and_the_last_word_holds_for_the_others() {
    let all = Address::parse_list("10.0.2.15/24,10.0.2.2;dhcp").unwrap();
    let fixed = |n| Address::of_card(&all, n).fixed;
    assert_eq!(fixed(0), Some((ip("10.0.2.15"), 24)));
    assert!(Address::of_card(&all, 1).dhcp && Address::of_card(&all, 5).dhcp);
    // None of two cards has the other's address.
    let one = Address::parse_list("10.0.2.15/24").unwrap();
    assert!(Address::of_card(&one, 1).dhcp && Address::of_card(&one, 1).fixed.is_none());
    let none = Address::parse_list("none").unwrap();
    assert_eq!(Address::of_card(&none, 1), Address::default());
    assert!(Address::parse_list("dhcp;").is_err());
}
