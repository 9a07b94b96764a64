//! What `/init` uploads, as files.
//!
//! What must hold: whatever is uploaded, no path leads out of the function's folder, no event takes longer than a slice of it.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use ebb::net::http::reserve;
use ebb_openwhisk::call::Call;
use ebb_openwhisk::json::{Json, Kind};

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
    let code = value
        .get("code")
        .filter(|code| code.kind() == Kind::Text)
        .ok_or_else(no_code)?;
    let binary = value.get("binary").and_then(Json::to_bool) == Some(true);
    Ok(Upload {
        files: files_of(code, binary).await?,
        environment: variables(value.get("env")),
    })
}

/// What a call's action is, without what `/init` would say of it: code is large, and would be read thrice on its way through JSON. Its files
/// may be there already.
///
/// # Errors
/// As [`read_upload`].
pub async fn upload_of(
    call: &Call,
    wall_ms: u64,
    files: Option<Vec<UnpackedFile>>,
) -> Result<Upload, Refusal> {
    let code = call.code().ok_or_else(no_code)?;
    let files = match files {
        Some(files) => files,
        None => files_of(&code.code, code.binary).await?,
    };
    Ok(Upload {
        files,
        environment: variables(Some(&call.init_environment(wall_ms))),
    })
}

fn no_code() -> Refusal {
    Refusal::new(403, "Missing main/no code to execute.")
}

/// The files of a JSON string that is code; one of them is [`PROGRAM`].
///
/// # Errors
/// As [`read_upload`].
pub(super) async fn files_of(code: &Json, binary: bool) -> Result<Vec<UnpackedFile>, Refusal> {
    let bytes = if binary {
        decoded(code).await?
    } else {
        code.to_text().unwrap_or_default().into_bytes()
    };
    if bytes.is_empty() {
        return Err(no_code());
    }
    let files = unpacked(bytes).await?;
    if !files.iter().any(|file| file.path == PROGRAM) {
        let refusal = Refusal::new(
            502,
            "The action failed to generate or locate a binary. See logs for details.",
        );
        return Err(refusal.with_log(no_program(&files)));
    }
    Ok(files)
}

/// What an archive without a program is to hold, and what it holds.
fn no_program(files: &[UnpackedFile]) -> String {
    const NAMED: usize = 8;
    let names = files.iter().map(|file| file.path.as_str());
    let names: Vec<&str> = names.take(NAMED).collect();
    let more = match files.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "The archive has no file '{PROGRAM}' at its top, which would be run; it has: {}{more}",
        names.join(", ")
    )
}

/// The members of an object as variables; those that can be none are left out.
fn variables(object: Option<&Json>) -> Vec<String> {
    let Some(members) = object.and_then(Json::to_object) else {
        return Vec::new();
    };
    let variable = |(name, value): (&str, &Json)| {
        let text = value
            .to_text()
            .unwrap_or_else(|| value.as_str().to_string());
        let can_be = !name.is_empty() && !name.contains(['=', '\0']) && !text.contains('\0');
        can_be.then(|| format!("{name}={text}"))
    };
    members.iter().filter_map(variable).collect()
}

/// What a JSON string says in base64.
async fn decoded(code: &Json) -> Result<Vec<u8>, Refusal> {
    let inner = code.as_str().get(1..code.as_str().len() - 1);
    // Base64 needs no escapes, so the string mostly says what it is.
    match decoded_text(inner.unwrap_or_default()).await {
        Err(_) if code.as_str().contains('\\') => {
            decoded_text(&code.to_text().unwrap_or_default()).await
        }
        decoded => decoded,
    }
}

async fn decoded_text(text: &str) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    if !reserve(&mut bytes, text.len() / 4 * 3) {
        return Err(Refusal::new(503, "there is no memory for the code now"));
    }
    for slice in text.as_bytes().chunks(SLICE) {
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
