//! The files of the archives that functions are uploaded as.
//!
//! What must hold: no path leads out of the function's folder, no more than [`LARGEST`] bytes are unpacked, and no event takes longer
//! than a slice of them.

use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use ebb::net::http::reserve;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags};
use rawzip::Crc32;

use super::{PROGRAM, Refusal};

/// Bytes of all files of a function: as much as the largest memory that an action may ask for.
pub const LARGEST: usize = 512 << 20;
/// Bytes that are unpacked in one event.
pub(super) const SLICE: usize = 256 << 10;

/// A file of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpackedFile {
    /// Its path in the function's folder.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Its content.
    pub bytes: Arc<Vec<u8>>,
}

/// The files of an archive, told by how it begins; anything else is the program itself.
pub(super) async fn unpacked(bytes: Vec<u8>) -> Result<Vec<UnpackedFile>, Refusal> {
    let broken = |what: &str, why: &dyn core::fmt::Display| {
        Refusal::new(502, format!("cannot unpack the {what}: {why}"))
    };
    let mut files = if bytes.starts_with(b"PK\x03\x04") {
        unzipped(&bytes)
            .await
            .map_err(|why| broken("ZIP archive", &why))?
    } else if bytes.starts_with(&[0x1f, 0x8b]) {
        let tar = gunzipped(&bytes)
            .await
            .map_err(|why| broken("gzipped tar archive", &why))?;
        untarred(&tar).map_err(|why| broken("gzipped tar archive", &why))?
    } else {
        Vec::from([UnpackedFile {
            path: PROGRAM.into(),
            mode: 0o755,
            bytes: Arc::new(bytes),
        }])
    };
    for file in files.iter_mut().filter(|file| file.path == PROGRAM) {
        file.mode = 0o755;
    }
    Ok(files)
}

async fn unzipped(bytes: &[u8]) -> Result<Vec<UnpackedFile>, String> {
    let said = |error: rawzip::Error| error.to_string();
    let archive = rawzip::ZipArchive::from_slice(bytes).map_err(said)?;
    let (mut files, mut left) = (Vec::new(), LARGEST);
    let mut entries = archive.entries();
    while let Some(entry) = entries.next_entry().map_err(said)? {
        let path = entry.file_path().try_normalize().map_err(said)?;
        let path: &str = path.as_ref();
        if entry.is_dir() || path.is_empty() {
            continue;
        }
        let stored = archive.get_entry(entry.wayfinder()).map_err(said)?;
        let content = match entry.compression_method() {
            rawzip::CompressionMethod::STORE => copied(stored.data(), left).await,
            rawzip::CompressionMethod::DEFLATE => inflated(stored.data(), left).await,
            method => Err(format!(
                "it is compressed by the method {method:?}; there are stored and deflated"
            )),
        };
        let (content, checksum) = content.map_err(|why| format!("{path}: {why}"))?;
        if checksum != stored.claim_verifier().crc {
            return Err(format!("{path} is damaged"));
        }
        left -= content.len();
        files.push(UnpackedFile {
            path: path.into(),
            mode: match entry.mode().permissions() {
                0 => 0o644,
                mode => mode & 0o755 | 0o600,
            },
            bytes: Arc::new(content),
        });
        ebb::yield_now().await;
    }
    Ok(files)
}

fn too_large() -> String {
    "it is too large".into()
}

fn no_memory() -> String {
    "there is no memory for it now".into()
}

/// Bytes as they are, if they are at most `most`, with their checksum.
async fn copied(bytes: &[u8], most: usize) -> Result<(Vec<u8>, u32), String> {
    if bytes.len() > most {
        return Err(too_large());
    }
    let mut copy = Vec::new();
    if !reserve(&mut copy, bytes.len()) {
        return Err(no_memory());
    }
    let mut checksum = Crc32::new();
    for slice in bytes.chunks(SLICE) {
        copy.extend_from_slice(slice);
        checksum.update(slice);
        ebb::yield_now().await;
    }
    Ok((copy, checksum.checksum()))
}

/// What deflated bytes hold, which is at most `most` bytes, with its checksum.
pub(super) async fn inflated(mut bytes: &[u8], most: usize) -> Result<(Vec<u8>, u32), String> {
    let mut state = Box::<DecompressorOxide>::default();
    let mut checksum = Crc32::new();
    let (mut content, mut length) = (Vec::new(), 0);
    loop {
        let room = most.min(length + SLICE);
        if room > content.capacity() && !reserve(&mut content, (2 * length).min(most).max(room)) {
            return Err(no_memory());
        }
        content.resize(room, 0);
        let flags = inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let (status, taken, made) = decompress(&mut state, bytes, &mut content, length, flags);
        checksum.update(&content[length..length + made]);
        (bytes, length) = (&bytes[taken..], length + made);
        match status {
            TINFLStatus::Done => {
                content.truncate(length);
                return Ok((content, checksum.checksum()));
            }
            TINFLStatus::HasMoreOutput if length == most => return Err(too_large()),
            TINFLStatus::HasMoreOutput => ebb::yield_now().await,
            _ => return Err("what is compressed is damaged".into()),
        }
    }
}

/// What a gzip file holds. Source: RFC 1952.
async fn gunzipped(bytes: &[u8]) -> Result<Vec<u8>, String> {
    const DEFLATED: u8 = 8;
    let short = || String::from("it ends in its header");
    let flags = *bytes.get(3).ok_or_else(short)?;
    if bytes[2] != DEFLATED {
        return Err(format!("the compression method {} is not known", bytes[2]));
    }
    let mut rest = bytes.get(10..).ok_or_else(short)?;
    // Extra field, name and comment, each if its flag is set; then a checksum of the header.
    if flags & 4 != 0 {
        let length = rest.first_chunk().map(|two| u16::from_le_bytes(*two));
        let length = usize::from(length.ok_or_else(short)?);
        rest = rest.get(2 + length..).ok_or_else(short)?;
    }
    for flag in [8, 16] {
        if flags & flag != 0 {
            let end = rest.iter().position(|byte| *byte == 0).ok_or_else(short)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & 2 != 0 {
        rest = rest.get(2..).ok_or_else(short)?;
    }
    let (content, checksum) = inflated(rest, LARGEST).await?;
    let (_, tail) = bytes.split_at(bytes.len().saturating_sub(8));
    if tail.first_chunk().map(|four| u32::from_le_bytes(*four)) != Some(checksum) {
        return Err("it is damaged".into());
    }
    Ok(content)
}

/// The regular files of a tar archive. Source: POSIX.1-2017, pax, "ustar Interchange Format"; GNU's long names beside it.
fn untarred(bytes: &[u8]) -> Result<Vec<UnpackedFile>, String> {
    const BLOCK: usize = 512;
    let text = |field: &[u8]| {
        let end = field.iter().position(|byte| *byte == 0);
        String::from_utf8_lossy(&field[..end.unwrap_or(field.len())]).into_owned()
    };
    let octal = |field: &[u8]| {
        let digits = text(field);
        let digits = digits.trim_matches([' ', '\0']);
        usize::from_str_radix(digits, 8).map_err(|_| format!("{digits:?} is no octal number"))
    };
    let mut files = Vec::new();
    let mut long_name = None;
    let mut rest = bytes;
    while let Some((header, after)) = rest.split_at_checked(BLOCK) {
        if header.iter().all(|byte| *byte == 0) {
            return Ok(files);
        }
        // The checksum counts its own field as blanks.
        let sum: usize = header
            .iter()
            .enumerate()
            .map(|(at, byte)| {
                usize::from(if (148..156).contains(&at) {
                    b' '
                } else {
                    *byte
                })
            })
            .sum();
        if octal(&header[148..156])? != sum {
            return Err("a header is damaged".into());
        }
        let size = octal(&header[124..136])?;
        let content = after.get(..size).ok_or("it ends in a file")?;
        rest = after.get(size.next_multiple_of(BLOCK)..).unwrap_or(&[]);
        let name = long_name.take().unwrap_or_else(|| {
            let name = text(&header[..100]);
            match (&header[257..262], text(&header[345..500])) {
                (b"ustar", prefix) if !prefix.is_empty() => format!("{prefix}/{name}"),
                _ => name,
            }
        });
        match header[156] {
            b'L' => long_name = Some(text(content)),
            // Records of the form `LENGTH KEY=VALUE\n`.
            b'x' => {
                let records = String::from_utf8_lossy(content);
                let path = records.split('\n').find_map(|record| {
                    let (_, pair) = record.split_once(' ')?;
                    pair.strip_prefix("path=")
                });
                long_name = path.map(String::from).or(long_name);
            }
            b'0' | 0 => {
                let path = inside(&name);
                let mode = u32::try_from(octal(&header[100..108])?).unwrap_or(0);
                if !path.is_empty() {
                    files.push(UnpackedFile {
                        path,
                        mode: mode & 0o755 | 0o600,
                        bytes: Arc::new(content.to_vec()),
                    });
                }
            }
            // Directories are made with their files; links and devices are left out.
            _ => {}
        }
    }
    Ok(files)
}

/// A path without what leads out of the folder that it begins in.
pub(super) fn inside(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
