//! What `/init` uploads, as files.
//!
//! What must hold: whatever is uploaded, no path leads out of the function's folder, no event takes longer than a slice of it.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use ebb_openwhisk::json::Json;

pub use super::archive::UnpackedFile;
use super::archive::unpacked;
use super::{PROGRAM, Refusal};

/// Bytes of base64 that are decoded in one event; a multiple of 4.
const SLICE: usize = 64 << 10;

/// What `/init` uploads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The function's files; one of them is [`PROGRAM`].
    pub files: Vec<UnpackedFile>,
    /// `NAME=VALUE` each.
    pub environment: Vec<String>,
}

/// Reads the body of `/init`. Takes as long as the code is large, other events run meanwhile.
///
/// # Errors
/// [`Refusal`]: nothing in it can be a program.
pub async fn read_upload(init: &str) -> Result<Upload, Refusal> {
    let malformed = |why: &str| Refusal::new(400, format!("Error unmarshaling request: {why}"));
    let document = Json::parse(init).map_err(|why| malformed(&why))?;
    let value = document
        .to_object()
        .and_then(|body| body.get("value")?.to_object())
        .ok_or_else(|| malformed("value is not an object"))?;
    let code = value.get("code").and_then(Json::to_text);
    let code = code
        .filter(|code| !code.is_empty())
        .ok_or_else(|| Refusal::new(403, "Missing main/no code to execute."))?;
    let binary = value.get("binary").and_then(Json::to_bool) == Some(true);
    let bytes = if binary {
        decoded(&code).await?
    } else {
        code.into_bytes()
    };
    let mut environment = Vec::new();
    if let Some(variables) = value.get("env").and_then(Json::to_object) {
        for (name, value) in variables.iter() {
            let text = value
                .to_text()
                .unwrap_or_else(|| value.as_str().to_string());
            if !name.is_empty() && !name.contains(['=', '\0']) && !text.contains('\0') {
                environment.push(format!("{name}={text}"));
            }
        }
    }
    let files = unpacked(bytes).await?;
    if !files.iter().any(|file| file.path == PROGRAM) {
        return Err(Refusal::new(
            502,
            "The action failed to generate or locate a binary. See logs for details.",
        ));
    }
    Ok(Upload { files, environment })
}

async fn decoded(code: &str) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::with_capacity(code.len() / 4 * 3);
    for slice in code.as_bytes().chunks(SLICE) {
        STANDARD
            .decode_vec(slice, &mut bytes)
            .map_err(|why| Refusal::new(400, format!("cannot decode the request: {why}")))?;
        ebb::yield_now().await;
    }
    Ok(bytes)
}

/// Whether a program was made by Go's compiler. Its runtime seeds the generators of each program from what the kernel gave it at its
/// start, so a copy made later would draw what another draws. Source: `runtime/rand.go` (`startupRand`); the name is that of the note
/// that cmd/link writes.
pub fn is_of_go(program: &[u8]) -> bool {
    let head = &program[..program.len().min(4096)];
    program.starts_with(b"\x7fELF") && head.windows(4).any(|four| four == b"Go\0\0")
}
