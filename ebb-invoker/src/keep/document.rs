//! Documents as the store has them: the value has the document and the code, or says which blobs they are.
//!
//! Code that is short stands in the value, for its SHA-256 would be a third of all that a PUT of 1 KiB takes. What equal code costs
//! so is bounded: 100,000 actions, the most that there are, with [`SHORT`] bytes each take 400 MiB, a tenth of a disk of the usual size.

use alloc::{format, string::String, vec::Vec};

use ebb_openwhisk::entity::{
    Entity,
    kept::{self, Kept},
};
use ebb_openwhisk::json::Json;
use ebb_store::{Batch, Error, Hash, Store, hash_in_pieces};

/// Bytes of a document that are a value; longer ones are blobs.
const INLINE: usize = 32 << 10;
/// The same of code, as the JSON string that it is.
const SHORT: usize = 4 << 10;
/// Bytes of code in all the values of one change: a batch of the store has an end.
pub(super) const HERE: usize = 64 << 10;

/// First byte of a value that is the document.
const WHOLE: u8 = b'=';
/// First byte of a value that names a blob with the document.
const ELSEWHERE: u8 = b'>';
/// Behind that: code, as the name of its blob, or itself behind its length, or none.
const CODE: u8 = b'+';
const CODE_HERE: u8 = b'*';
const NO_CODE: u8 = b'-';

/// What a value is marked with: what it is the document of. Those of before have no mark.
const ACTION: u8 = 1;
const PACKAGE: u8 = 2;
const TRIGGER: u8 = 3;
pub(super) const RULE: u8 = 4;
const API: u8 = 5;

/// The mark of an entity's document.
fn mark(entity: &Entity) -> u8 {
    match entity {
        Entity::Action(_) => ACTION,
        Entity::Package(_) => PACKAGE,
        Entity::Trigger(_) => TRIGGER,
        Entity::Rule(_) => RULE,
        Entity::Api(_) => API,
    }
}

/// A document and code with their numbers.
pub(super) struct Document {
    kept: Kept,
    mark: u8,
    /// Of the document, if it is a blob or a trigger's, which is compared: to hash is much of what a small change takes.
    pub hash: Option<Hash>,
    /// Of the code, if it is a blob.
    code: Option<Hash>,
}

impl Document {
    /// An entity's. Takes as long as the code is large; other events run meanwhile. Code that stands in the value is taken off `room`.
    pub async fn of(entity: &Entity, room: &mut usize) -> Self {
        let kept = kept::write(entity);
        let code = match &kept.code {
            Some(code) if code.as_str().len() > SHORT.min(*room) => {
                Some(hash_in_pieces(code.as_str().as_bytes()).await)
            }
            Some(code) => {
                *room -= code.as_str().len();
                None
            }
            None => None,
        };
        let compared = matches!(entity, Entity::Trigger(_));
        let document = kept.document.as_str().as_bytes();
        let hash = match compared || document.len() > INLINE {
            true => Some(hash_in_pieces(document).await),
            false => None,
        };
        Self {
            mark: mark(entity),
            kept,
            hash,
            code,
        }
    }

    /// One without code that nothing is compared with.
    pub fn plain(document: Json) -> Self {
        let bytes = document.as_str().as_bytes();
        let hash = (bytes.len() > INLINE).then(|| ebb_store::hash(bytes));
        Self {
            kept: Kept {
                document,
                code: None,
            },
            mark: 0,
            hash,
            code: None,
        }
    }

    pub fn put(self, batch: &mut Batch, key: impl AsRef<[u8]>) {
        let document = self.kept.document.as_str().as_bytes();
        let code = self.kept.code.as_ref().map(|code| code.as_str().as_bytes());
        let here = code.filter(|_| self.code.is_none());
        // With the names of two blobs, or one and a length.
        let most = document.len().min(INLINE) + here.map_or(0, <[u8]>::len) + 66;
        let (mut value, mut blobs) = (Vec::with_capacity(most), Vec::new());
        let blob = self.hash.filter(|_| document.len() > INLINE);
        value.push(if blob.is_some() { ELSEWHERE } else { WHOLE });
        if let Some(hash) = blob {
            batch.known_blob(hash, document);
            value.extend(hash);
            blobs.push(hash);
        }
        match (self.code, code) {
            (Some(hash), Some(code)) => {
                batch.known_blob(hash, code);
                value.push(CODE);
                value.extend(hash);
                blobs.push(hash);
            }
            (None, Some(code)) => {
                value.push(CODE_HERE);
                value.extend((code.len() as u32).to_le_bytes());
                value.extend(code);
            }
            (_, None) => value.push(NO_CODE),
        }
        if blob.is_none() {
            value.extend(document);
        }
        batch.put_marked(key, value, blobs, self.mark);
    }
}

pub(super) fn text(bytes: Vec<u8>) -> Result<Json, String> {
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
    Json::parse(&text)
}

fn taken_hash(rest: &mut &[u8]) -> Result<Hash, String> {
    let (hash, after) = rest.split_first_chunk().ok_or("it is cut short")?;
    *rest = after;
    Ok(*hash)
}

fn taken_code(rest: &mut &[u8]) -> Result<Vec<u8>, String> {
    let (length, after) = rest.split_first_chunk().ok_or("it is cut short")?;
    let code = after.split_at_checked(u32::from_le_bytes(*length) as usize);
    let (code, after) = code.ok_or("it is cut short")?;
    *rest = after;
    Ok(code.to_vec())
}

/// Reads a document, and the code that goes with it.
pub(super) async fn get(store: &Store, key: &[u8]) -> Got {
    let said = |error: Error| format!("{error}");
    let Some(value) = store.get(key).await.map_err(said)? else {
        return Ok(None);
    };
    let (first, mut rest) = value.split_first().ok_or("it is empty")?;
    let elsewhere = match *first {
        WHOLE => None,
        ELSEWHERE => Some(taken_hash(&mut rest)?),
        other => return Err(format!("it begins with the byte {other}")),
    };
    let (second, mut rest) = rest.split_first().ok_or("it is cut short")?;
    let (mut code_hash, mut here) = (None, None);
    match *second {
        CODE => code_hash = Some(taken_hash(&mut rest)?),
        CODE_HERE => here = Some(taken_code(&mut rest)?),
        NO_CODE => {}
        other => return Err(format!("its second part begins with the byte {other}")),
    }
    let blob = async |hash: &Hash| {
        let blob = store.blob(hash).await.map_err(said)?;
        blob.ok_or_else(|| String::from("a part of it is missing"))
    };
    let document = match elsewhere {
        Some(hash) => blob(&hash).await?,
        None => rest.to_vec(),
    };
    let code = match (code_hash, here) {
        // It was checked when it was uploaded, and has a checksum.
        (Some(hash), _) => Some(text(blob(&hash).await?)?),
        (None, Some(code)) => Some(text(code)?),
        (None, None) => None,
    };
    let document = text(document)?;
    Ok(Some((Kept { document, code }, elsewhere)))
}

/// What came of reading a document: it, and its number if that was known.
pub(super) type Got = Result<Option<(Kept, Option<Hash>)>, String>;
