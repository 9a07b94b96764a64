//! Who a server is: certificates with their keys, chosen by the name that a client asks for, exchanged while connections go on.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::fmt;

use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use spin::RwLock;

use crate::{Error, primitives, self_signed::base64};

/// A certificate, those that vouch for it, and its key.
#[derive(Clone, Debug)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
}

impl Identity {
    /// From PEM texts: the chain, the server's own certificate first, and its key (PKCS #8, SEC 1 or PKCS #1). Both may be one text.
    ///
    /// # Errors
    /// What is wrong, for people: something is missing or no PEM, the kind of key is not known, it does not belong to the certificate.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, Error> {
        Self::from_pem_with(chain, key, &primitives::provider())
    }

    /// As [`from_pem`](Self::from_pem), with the ciphers of another provider.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem).
    pub fn from_pem_with(
        chain: &[u8],
        key: &[u8],
        provider: &CryptoProvider,
    ) -> Result<Self, Error> {
        let wrong = |what: &str, why: &dyn fmt::Display| {
            Error::Identity(format!("the {what} cannot be read: {why}"))
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|why| wrong("certificate", &why))?;
        let Some(own) = chain.first() else {
            return Err(wrong("certificate", &"there is none"));
        };
        let names = names(own).map_err(|why| wrong("certificate", &why))?;
        let key =
            PrivateKeyDer::from_pem_slice(key).map_err(|why| wrong("certificate's key", &why))?;
        let key = CertifiedKey::from_der(chain, key, provider)
            .map_err(|why| wrong("certificate's key", &why))?;
        Ok(Self {
            key: Arc::new(key),
            names,
        })
    }

    /// All that a PEM text has: chains, each with its key behind it.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem), or when there is none.
    pub fn all_from_pem(text: &[u8]) -> Result<Vec<Self>, Error> {
        let text = core::str::from_utf8(text)
            .map_err(|_| Error::Identity("the certificates are not PEM".to_string()))?;
        let end = "PRIVATE KEY-----";
        if text.matches(end).count() <= 2 {
            return Ok(Vec::from([Self::from_pem(
                text.as_bytes(),
                text.as_bytes(),
            )?]));
        }
        let mut all = Vec::new();
        let mut rest = text;
        // The second mark of a key ends what belongs together.
        while let Some((at, _)) = rest.match_indices(end).nth(1) {
            let (one, more) = rest.split_at(at + end.len());
            all.push(Self::from_pem(one.as_bytes(), one.as_bytes())?);
            rest = more;
        }
        if rest.contains("-----BEGIN") || all.is_empty() {
            // Says what is missing.
            all.push(Self::from_pem(rest.as_bytes(), rest.as_bytes())?);
        }
        Ok(all)
    }

    /// What curl's `--pinnedpubkey` takes: SHA-256 of the public key, by which a client knows a server whose certificate nobody vouches
    /// for.
    #[must_use]
    pub fn pin(&self) -> Option<String> {
        let own = self.key.cert.first()?;
        let own = webpki::EndEntityCert::try_from(own).ok()?;
        let key = own.subject_public_key_info();
        Some(format!("sha256//{}", base64(&primitives::sha256(&key))))
    }

    /// No other certificate came with it: it may vouch for itself.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.key.cert.len() == 1
    }

    /// The DNS names that the certificate is for, in lower case; the first part of one may be `*`.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

fn names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, webpki::Error> {
    let certificate = webpki::EndEntityCert::try_from(certificate)?;
    Ok(certificate
        .valid_dns_names()
        .map(str::to_ascii_lowercase)
        .collect())
}

/// Which certificate goes with which name.
#[derive(Default)]
struct Table {
    by_name: BTreeMap<String, Arc<CertifiedKey>>,
    /// For clients that ask for no name, or for one that nobody here has: their own check tells them more than an alert would.
    first: Option<Arc<CertifiedKey>>,
}

impl Table {
    fn new(identities: Vec<Identity>) -> Self {
        let mut table = Self {
            first: identities.first().map(|identity| identity.key.clone()),
            ..Self::default()
        };
        for identity in identities {
            for name in identity.names {
                // The first one stands.
                table.by_name.entry(name).or_insert(identity.key.clone());
            }
        }
        table
    }

    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let named = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            // A star stands for exactly one part (RFC 9525, section 6.3).
            let wildcard = || {
                let (_, rest) = name.split_once('.')?;
                self.by_name.get(&format!("*.{rest}"))
            };
            self.by_name.get(&name).or_else(wildcard)
        });
        named.or(self.first.as_ref()).cloned()
    }
}

/// The certificates of a server, which may change while it serves: handshakes that begin later see the new ones, connections
/// that are there go on. Clones are the same certificates.
#[derive(Clone, Default)]
pub struct Certificates(Arc<RwLock<Arc<Table>>>);

impl Certificates {
    /// Those of one or more identities. A client that asks for a name gets the first one that has it, every other the first.
    #[must_use]
    pub fn new(identities: Vec<Identity>) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(Table::new(identities)))))
    }

    /// Takes others from now on.
    pub fn replace(&self, identities: Vec<Identity>) {
        let table = Arc::new(Table::new(identities));
        *self.0.write() = table;
    }

    /// The names that there are certificates for.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let table = Arc::clone(&self.0.read());
        table.by_name.keys().map(ToString::to_string).collect()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = Arc::clone(&self.0.read());
        table.find(hello.server_name())
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificates({:?})", self.names())
    }
}
