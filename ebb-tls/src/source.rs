//! Where a server's certificates come from: the boot archive, a disk, or nowhere, and then they are made.
//!
//! A disk of certificates is PEM from its first byte on: chains, each with its key behind it, up to a zero byte or the disk's end, so
//! `cat chain.pem key.pem > certificates.img` makes one. A blank one gets a certificate that is made, and keeps it. What is
//! written there while the server runs is seen within [`LOOK`].

use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
    vec,
    vec::Vec,
};
use core::time::Duration;

use ebb::{
    EbbRef,
    platform::Environment,
    println,
    time::{sleep, unix_time},
};
use ebb_archive::Archive;
use ebb_block::{BLOCK, BlockDevice, Disks};
use ebb_net::reached_at;

use crate::{Certificates, Error, Identity, self_signed};

/// The file of the boot archive that has certificates.
const FILE: &[u8] = b"/tls.pem";
/// How often a disk is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// What is read of a disk.
const MOST: u64 = 1 << 20;
/// What a certificate is for that is made.
pub const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The certificates that a server was started with.
pub struct Source {
    certificates: Certificates,
    first: Identity,
    /// For people.
    place: String,
    disk: Option<(Arc<dyn BlockDevice>, Vec<u8>)>,
}

impl Source {
    /// The boot archive's file `/tls.pem`; else a disk, if there is one of that number; else one is made for this start.
    ///
    /// # Errors
    /// When what is there cannot be read.
    pub async fn open(disk: usize) -> Result<Self, Error> {
        let archive = Archive::new(EbbRef::<dyn Environment>::get().archive());
        if let Some(file) = archive.ok().and_then(|archive| archive.resolve(FILE)) {
            return Self::of(file.data(), "the boot archive", None);
        }
        let disks = EbbRef::<dyn Disks>::get();
        if disks.count() <= disk {
            let made = self_signed(&NAMES, unix_time())?;
            return Self::of(made.pem.as_bytes(), "made for this start", None);
        }
        let place = format!("disk {disk}");
        let failed = |error| Error::Identity(format!("{place}: {error}"));
        let device = disks.open(disk).map_err(failed)?;
        let mut text = read(&device).await.map_err(failed)?;
        if text.is_empty() {
            let made = self_signed(&NAMES, unix_time())?;
            text = made.pem.into_bytes();
            write(&device, &text).await.map_err(failed)?;
        }
        Self::of(&text.clone(), &place, Some((device, text)))
    }

    /// Of a PEM text.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_text(text: &[u8], place: &str) -> Result<Self, Error> {
        Self::of(text, place, None)
    }

    fn of(
        text: &[u8],
        place: &str,
        disk: Option<(Arc<dyn BlockDevice>, Vec<u8>)>,
    ) -> Result<Self, Error> {
        let identities = Identity::all_from_pem(text)?;
        let first = identities[0].clone();
        Ok(Self {
            certificates: Certificates::new(identities),
            first,
            place: place.to_string(),
            disk,
        })
    }

    /// The certificates.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// Where they come from, for people.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The URL at which the user reaches a port of this machine.
    #[must_use]
    pub fn url(&self, port: u16) -> String {
        let (host, port) = reached_at(port);
        format!("https://{host}:{port}")
    }

    /// The options with which curl trusts this server and nobody else; empty where somebody vouches for it.
    #[must_use]
    pub fn curl(&self) -> String {
        match self.first.pin().filter(|_| self.first.is_alone()) {
            Some(pin) => format!("-k --pinnedpubkey {pin} "),
            None => String::new(),
        }
    }

    /// Looks whether the disk has others, and takes them. Never ends, and does nothing where there is no disk.
    pub async fn watch(mut self) {
        let Some((device, mut seen)) = self.disk.take() else {
            return;
        };
        loop {
            sleep(LOOK).await;
            let text = match read(&device).await {
                Ok(text) if text != seen => text,
                _ => continue,
            };
            match Identity::all_from_pem(&text) {
                Ok(identities) => {
                    self.certificates.replace(identities);
                    println!(
                        "tls: {} has other certificates, which are used from now on",
                        self.place
                    );
                }
                // Half of a file that is being written looks the same.
                Err(why) => println!("tls: {}: {why}; what was there is used on", self.place),
            }
            seen = text;
        }
    }
}

/// The text at a disk's beginning.
async fn read(device: &Arc<dyn BlockDevice>) -> Result<Vec<u8>, ebb_block::Error> {
    let mut text = Vec::new();
    let size = device.size().min(MOST);
    while (text.len() as u64) < size {
        let most = (size - text.len() as u64).min(64 << 10) as usize;
        let more = device.read(text.len() as u64, most).await?;
        let end = more.iter().position(|byte| *byte == 0);
        text.extend_from_slice(&more[..end.unwrap_or(more.len())]);
        if end.is_some() {
            break;
        }
    }
    Ok(text)
}

async fn write(device: &Arc<dyn BlockDevice>, text: &[u8]) -> Result<(), ebb_block::Error> {
    let mut blocks = vec![0; (text.len() + 1).next_multiple_of(BLOCK)];
    blocks[..text.len()].copy_from_slice(text);
    device.write(0, blocks).await?;
    device.flush().await
}
