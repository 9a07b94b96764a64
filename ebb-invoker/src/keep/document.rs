//! Documents as the store has them: the value says where the document is and which blob the code is.

use alloc::{format, string::String, vec::Vec};

use ebb_openwhisk::entity::kept::Kept;
use ebb_openwhisk::json::Json;
use ebb_store::{Batch, Error, Hash, Store, hash_in_pieces};

/// Bytes of a document that are a value; longer ones are blobs.
const INLINE: usize = 32 << 10;

/// First byte of a value that is the document.
const WHOLE: u8 = b'=';
/// First byte of a value that names a blob with the document.
const ELSEWHERE: u8 = b'>';
/// Behind that: code, as the name of its blob, or none.
const CODE: u8 = b'+';
const NO_CODE: u8 = b'-';

/// A document and code with their numbers.
pub(super) struct Document {
    kept: Kept,
    /// Of the document, if it is a blob or is to be compared: to hash is much of what a small change takes.
    pub hash: Option<Hash>,
    /// Of the code.
    code: Option<Hash>,
}

impl Document {
    /// One whose `hash` is known if it is `compared`. Takes as long as the code is large; other events run meanwhile.
    pub async fn of(kept: Kept, compared: bool) -> Self {
        let code = match &kept.code {
            Some(code) => Some(hash_in_pieces(code.as_str().as_bytes()).await),
            None => None,
        };
        let document = kept.document.as_str().as_bytes();
        let hash = match compared || document.len() > INLINE {
            true => Some(hash_in_pieces(document).await),
            false => None,
        };
        Self { kept, hash, code }
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
            hash,
            code: None,
        }
    }

    pub fn put(self, batch: &mut Batch, key: impl AsRef<[u8]>) {
        let document = self.kept.document.as_str().as_bytes();
        let (mut value, mut blobs) = (Vec::new(), Vec::new());
        let blob = self.hash.filter(|_| document.len() > INLINE);
        value.push(if blob.is_some() { ELSEWHERE } else { WHOLE });
        if let Some(hash) = blob {
            batch.known_blob(hash, document);
            value.extend(hash);
            blobs.push(hash);
        }
        match (self.code, &self.kept.code) {
            (Some(hash), Some(code)) => {
                batch.known_blob(hash, code.as_str().as_bytes());
                value.push(CODE);
                value.extend(hash);
                blobs.push(hash);
            }
            _ => value.push(NO_CODE),
        }
        if blob.is_none() {
            value.extend(document);
        }
        batch.put_with(key, value, blobs);
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
    let code_hash = match *second {
        CODE => Some(taken_hash(&mut rest)?),
        NO_CODE => None,
        other => return Err(format!("its second part begins with the byte {other}")),
    };
    let blob = async |hash: &Hash| {
        let blob = store.blob(hash).await.map_err(said)?;
        blob.ok_or_else(|| String::from("a part of it is missing"))
    };
    let document = match elsewhere {
        Some(hash) => blob(&hash).await?,
        None => rest.to_vec(),
    };
    let code = match code_hash {
        // It was checked when it was uploaded, and has a checksum.
        Some(hash) => Some(text(blob(&hash).await?)?),
        None => None,
    };
    let kept = Kept {
        document: text(document)?,
        code,
    };
    Ok(Some((kept, elsewhere)))
}

/// What came of reading a document: it, and its number if that was known.
pub(super) type Got = Result<Option<(Kept, Option<Hash>)>, String>;
