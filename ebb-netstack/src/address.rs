//! The option `ip`: how each card comes to its address.

use alloc::vec::Vec;
use core::net::IpAddr;

/// What the option `ip` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// Ask by DHCP.
    pub dhcp: bool,
    /// The address to use, at once or when nobody answers.
    pub fixed: Option<(IpAddr, u8)>,
    /// Its router.
    pub gateway: Option<IpAddr>,
}

impl Address {
    /// The values of the option, in words.
    pub const TAKES: &str = "dhcp, ADDRESS/LENGTH[,GATEWAY], dhcp,ADDRESS/LENGTH[,GATEWAY] or none, ; between those of several cards";

    /// Reads what is said of each card, `;` between them.
    ///
    /// # Errors
    /// What is accepted.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, &'static str> {
        text.split(';').map(Self::parse).collect()
    }

    /// That of a card: beyond the list the last one holds, but an address is that of one card only.
    pub fn of_card(all: &[Self], card: usize) -> Self {
        let ask = Self {
            dhcp: true,
            ..Self::default()
        };
        match (all.get(card), all.last()) {
            (Some(own), _) => own.clone(),
            (None, Some(last)) if last.fixed.is_none() => last.clone(),
            _ => ask,
        }
    }

    /// Reads `dhcp`, `ADDRESS/LENGTH[,GATEWAY]`, or `dhcp,ADDRESS/LENGTH[,GATEWAY]` with a fallback.
    ///
    /// # Errors
    /// What is accepted.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const WANTED: &str =
            "`dhcp`, `ADDRESS/LENGTH[,GATEWAY]`, `dhcp,ADDRESS/LENGTH[,GATEWAY]` or `none`";
        let mut address = Self::default();
        if text == "none" {
            return Ok(address);
        }
        let mut words = text.split(',').peekable();
        if words.next_if_eq(&"dhcp").is_some() {
            address.dhcp = true;
        }
        if let Some(word) = words.next() {
            let (ip, length) = word.split_once('/').ok_or(WANTED)?;
            let ip: IpAddr = ip.parse().map_err(|_| WANTED)?;
            let length: u8 = length.parse().map_err(|_| WANTED)?;
            let usable = match ip {
                IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
                IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
            };
            if length == 0 || length > if ip.is_ipv4() { 32 } else { 128 } || !usable {
                return Err(WANTED);
            }
            address.fixed = Some((ip, length));
        }
        if let Some(word) = words.next() {
            let gateway: IpAddr = word.parse().map_err(|_| WANTED)?;
            if address
                .fixed
                .is_some_and(|(ip, _)| ip.is_ipv4() != gateway.is_ipv4())
            {
                return Err(WANTED);
            }
            address.gateway = Some(gateway);
        }
        if words.next().is_some() || !address.dhcp && address.fixed.is_none() {
            return Err(WANTED);
        }
        Ok(address)
    }
}
