//! Functions that are programs: OpenWhisk's ActionLoop, as far as both platforms share it. What is uploaded becomes files, the body of
//! `/run` a line, and the line that comes back an answer.
//!
//! The program reads calls from descriptor 0, a line of JSON each, and writes each answer as a line to descriptor 3; what it writes to 1 and
//! 2 is the function's log. Source: apache/openwhisk-runtime-go, `docs/ACTION.md` and `openwhisk/*.go` at 1b00151.
//!
//! What must hold: whatever is uploaded, no path leads out of the function's folder, and no more than [`LARGEST`] bytes are
//! unpacked.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use core::future::Future;

use base64::{Engine, engine::general_purpose::STANDARD};
use ebb_openwhisk::json::{Json, Kind, Members};
use miniz_oxide::inflate::decompress_to_vec_with_limit;

use crate::instance::{InstanceRequest, Lost};
use crate::parts::Parts;
use crate::relay::next_or_gone;

/// Bytes of all files of a function: as much as the largest memory that an action may ask for.
pub const LARGEST: usize = 512 << 20;
/// The program among a function's files.
pub const PROGRAM: &str = "exec";
/// Bytes of base64 that are decoded in one event; a multiple of 4.
const SLICE: usize = 64 << 10;

/// A file of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnpackedFile {
    /// Its path in the function's folder.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// What `/init` uploads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The function's files; one of them is [`PROGRAM`].
    pub files: Vec<UnpackedFile>,
    /// `NAME=VALUE` each.
    pub environment: Vec<String>,
}

/// Why there is no program: the status of the answer, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// An HTTP status.
    pub status: u16,
    /// A text for the user.
    pub error: String,
}

impl Refusal {
    /// With this status and text.
    pub fn new(status: u16, error: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
        }
    }

    /// The body of the answer.
    pub fn body(&self) -> Vec<u8> {
        let body = Members::new().text("error", &self.error).finish();
        body.as_str().as_bytes().to_vec()
    }
}

/// A function that is a program, on one of the platforms: what it is asked for apart from how it is started and spoken to.
pub trait LineInstance {
    /// Starts the program that the body of `/init` uploads.
    ///
    /// # Errors
    /// [`Refusal`].
    fn init(&mut self, payload: &str) -> impl Future<Output = Result<(), Refusal>>;
    /// Gives a started program a line. Lines that came before this one was given answer nothing.
    fn give_line(&mut self, line: Vec<u8>);
    /// Waits for a started program's next line.
    ///
    /// # Errors
    /// [`Lost`].
    fn next_line(&mut self) -> impl Future<Output = Result<Vec<u8>, Lost>>;
    /// Ends its program.
    fn end(&mut self);
    /// Whether it was started.
    fn is_started(&self) -> bool;

    /// Calls the program; its answer may come in parts.
    ///
    /// # Errors
    /// [`Lost`].
    fn answer_in_parts(
        &mut self,
        payload: &str,
        parts: &Parts,
    ) -> impl Future<Output = Result<(u16, Vec<u8>), Lost>> {
        async move {
            if !self.is_started() {
                return Ok(not_defined());
            }
            self.give_line(call_line_in_parts(payload));
            let line = relay_lines(self, parts).await?;
            line.map(|line| answer_of(&line)).ok_or(Lost::Gone)
        }
    }

    /// Answers a request as the loader of another language does.
    ///
    /// # Errors
    /// [`Lost`].
    fn answer(
        &mut self,
        request: InstanceRequest,
        payload: &str,
    ) -> impl Future<Output = Result<(u16, Vec<u8>), Lost>> {
        async move {
            let refused = |refusal: Refusal| Ok((refusal.status, refusal.body()));
            match request {
                InstanceRequest::Init if self.is_started() => refused(Refusal::new(
                    403,
                    "Cannot initialize the action more than once.",
                )),
                InstanceRequest::Init => match self.init(payload).await {
                    Ok(()) => Ok((200, OK.to_vec())),
                    Err(refusal) => refused(refusal),
                },
                InstanceRequest::Run | InstanceRequest::RunInParts if !self.is_started() => {
                    Ok(not_defined())
                }
                InstanceRequest::Run | InstanceRequest::RunInParts => {
                    self.give_line(call_line(payload));
                    Ok(answer_of(&self.next_line().await?))
                }
                InstanceRequest::Reset
                | InstanceRequest::Thaw
                | InstanceRequest::Rest
                | InstanceRequest::Taken
                | InstanceRequest::Leave => Ok((200, OK.to_vec())),
            }
        }
    }
}

fn not_defined() -> (u16, Vec<u8>) {
    (500, Refusal::new(500, "no action defined yet").body())
}

/// The body of an answer that says no more than that.
const OK: &[u8] = b"{\"ok\":true}";

/// What a program that ended while it started is told as.
pub fn not_started(why: &str) -> Refusal {
    Refusal::new(502, format!("cannot start action: {why}"))
}

/// What a call is told whose program ends without an answer.
pub const NO_DICTIONARY: &str = "The action did not return a dictionary or array.";

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

/// The files of an archive, told by how it begins; anything else is the program itself.
async fn unpacked(bytes: Vec<u8>) -> Result<Vec<UnpackedFile>, Refusal> {
    let broken = |what: &str, why: &dyn core::fmt::Display| {
        Refusal::new(502, format!("cannot unpack the {what}: {why}"))
    };
    let mut files = if bytes.starts_with(b"PK\x03\x04") {
        unzipped(&bytes)
            .await
            .map_err(|why| broken("ZIP archive", &why))?
    } else if bytes.starts_with(&[0x1f, 0x8b]) {
        let tar = gunzipped(&bytes).map_err(|why| broken("gzipped tar archive", &why))?;
        untarred(&tar).map_err(|why| broken("gzipped tar archive", &why))?
    } else {
        Vec::from([UnpackedFile {
            path: PROGRAM.into(),
            mode: 0o755,
            bytes,
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
            rawzip::CompressionMethod::STORE if stored.data().len() <= left => {
                stored.data().to_vec()
            }
            rawzip::CompressionMethod::DEFLATE => decompress_to_vec_with_limit(stored.data(), left)
                .map_err(|error| format!("{path}: {error}"))?,
            rawzip::CompressionMethod::STORE => return Err(format!("{path}: too large")),
            method => {
                return Err(format!(
                    "{path} is compressed by the method {method:?}; there are stored and deflated"
                ));
            }
        };
        if rawzip::crc32(&content) != stored.claim_verifier().crc {
            return Err(format!("{path} is damaged"));
        }
        left -= content.len();
        files.push(UnpackedFile {
            path: path.into(),
            mode: match entry.mode().permissions() {
                0 => 0o644,
                mode => mode & 0o755 | 0o600,
            },
            bytes: content,
        });
        ebb::yield_now().await;
    }
    Ok(files)
}

/// What a gzip file holds. Source: RFC 1952.
fn gunzipped(bytes: &[u8]) -> Result<Vec<u8>, String> {
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
    let content = decompress_to_vec_with_limit(rest, LARGEST).map_err(|error| error.to_string())?;
    let (_, tail) = bytes.split_at(bytes.len().saturating_sub(8));
    if tail.first_chunk().map(|four| u32::from_le_bytes(*four)) != Some(rawzip::crc32(&content)) {
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
                        bytes: content.to_vec(),
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
fn inside(path: &str) -> String {
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

/// Whether a program was made by Go's compiler. Its runtime seeds the generators of each program from what the kernel gave it at its
/// start, so a copy made later would draw what another draws. Source: `runtime/rand.go` (`startupRand`); the name is that of the note
/// that cmd/link writes.
pub fn is_of_go(program: &[u8]) -> bool {
    let head = &program[..program.len().min(4096)];
    program.starts_with(b"\x7fELF") && head.windows(4).any(|four| four == b"Go\0\0")
}

/// The line that a call is.
pub fn call_line(run: &str) -> Vec<u8> {
    let mut line: Vec<u8> = run
        .bytes()
        .filter(|byte| !matches!(byte, b'\n' | b'\r'))
        .collect();
    line.push(b'\n');
    line
}

/// The same for a caller that takes the answer in parts, which the member `stream` says.
pub fn call_line_in_parts(run: &str) -> Vec<u8> {
    let mut line = call_line(run);
    if let Some(end) = line.iter().rposition(|byte| *byte == b'}') {
        line.truncate(end);
        let is_empty = line.trim_ascii_end().ends_with(b"{");
        line.extend_from_slice(if is_empty { b"" } else { b"," });
        line.extend_from_slice(b"\"stream\":true}\n");
    }
    line
}

/// The answer that a line is: status and body.
pub fn answer_of(line: &[u8]) -> (u16, Vec<u8>) {
    match Json::parse_bytes(line) {
        Ok(json) if matches!(json.kind(), Kind::Object | Kind::Array) => {
            (200, json.as_str().as_bytes().to_vec())
        }
        _ => (502, Refusal::new(502, NO_DICTIONARY).body()),
    }
}

/// What a line of a program is that answers in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Status and headers.
    Head(Json),
    /// A piece of the body.
    Part(Vec<u8>),
    /// The answer, or what is none.
    Answer,
}

/// Reads a line. Those of parts begin with a `+`, which no JSON does: `+{"statusCode":200,"headers":{}}`, then `+"text"` or
/// `+{"base64":".."}` each.
pub fn read_line(line: &[u8], has_begun: bool) -> Line {
    let Some(json) = line
        .strip_prefix(b"+")
        .and_then(|json| Json::parse_bytes(json).ok())
    else {
        return Line::Answer;
    };
    match (json.kind(), has_begun) {
        (Kind::Object, false) => Line::Head(json),
        (Kind::Text, true) => {
            let text = json.to_text().unwrap_or_default();
            Line::Part(String::into_bytes(text))
        }
        (Kind::Object, true) => {
            let text = json
                .to_object()
                .and_then(|part| part.get("base64")?.to_text());
            let bytes = text.and_then(|text| STANDARD.decode(text).ok());
            bytes.map_or(Line::Answer, Line::Part)
        }
        _ => Line::Answer,
    }
}

/// Hands on the parts that a program's lines are; its answer is the first other line. `None` if the client has gone: a program that
/// answers lines hears of nothing between calls, so it is ended.
///
/// # Errors
/// [`Lost`].
pub async fn relay_lines<P: LineInstance + ?Sized>(
    program: &mut P,
    parts: &Parts,
) -> Result<Option<Vec<u8>>, Lost> {
    let mut has_begun = false;
    loop {
        let Some(line) = next_or_gone(program.next_line(), parts).await else {
            program.end();
            return Ok(None);
        };
        let line = line?;
        match read_line(&line, has_begun) {
            Line::Head(head) => {
                has_begun = true;
                parts.begin(head);
            }
            Line::Part(bytes) if bytes.is_empty() => {}
            Line::Part(bytes) => {
                if parts.send(bytes).await.is_err() {
                    program.end();
                    return Ok(None);
                }
            }
            Line::Answer => return Ok(Some(line)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned;
    use core::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    fn ready<T>(future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(value) = future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            {
                return value;
            }
        }
    }

    fn upload(code: &str, binary: bool) -> Result<Upload, Refusal> {
        let mut env = Members::new();
        env.text("A", "b").raw("N", "{\"x\":1}");
        let mut value = Members::new();
        value
            .text("code", code)
            .bool("binary", binary)
            .raw("env", env.finish().as_str());
        let init = Members::new()
            .raw("value", value.finish().as_str())
            .finish();
        ready(read_upload(init.as_str()))
    }

    fn paths(upload: &Upload) -> Vec<(&str, u32, &[u8])> {
        upload
            .files
            .iter()
            .map(|f| (f.path.as_str(), f.mode, &f.bytes[..]))
            .collect()
    }

    #[test]
    fn text_is_the_program_itself() {
        let upload = upload("#!/bin/sh\ncat", false).expect("a program");
        assert_eq!(paths(&upload), [("exec", 0o755, &b"#!/bin/sh\ncat"[..])]);
        assert_eq!(upload.environment, ["A=b", "N={\"x\":1}"]);
    }

    /// Made by `zip` and `tar czf` of `exec` (0700, "#!/bin/sh\nhi\n"), `lib/data` (0640, "d") and, in the ZIP, stored and deflated.
    fn archive(command: &str, name: &str) -> String {
        let folder =
            std::env::temp_dir().join(std::format!("ebb-executable-{name}-{}", std::process::id()));
        let script = std::format!(
            "rm -rf '{0}' && mkdir -p '{0}/lib' && cd '{0}' && printf '#!/bin/sh\\nhi\\n' > exec && chmod 700 exec && printf d > lib/data && \
             chmod 640 lib/data && {command} && cat a",
            folder.display()
        );
        let made = std::process::Command::new("sh")
            .args(["-c", &script])
            .output()
            .expect("sh");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        std::fs::remove_dir_all(folder).expect("it was made");
        STANDARD.encode(made.stdout)
    }

    #[test]
    fn the_program_of_an_archive_is_executable_and_has_its_files_beside_it() {
        test_support::needs!("/usr/bin/python3");
        let zip = "/usr/bin/python3 -c \"import zipfile,os; z=zipfile.ZipFile('a','w'); z.write('exec',compress_type=8); z.write('lib/data'); z.close()\"";
        for (command, name) in [
            (zip, "zip"),
            ("tar czf a exec lib", "tar"),
            ("tar czf a --format=pax exec lib", "pax"),
        ] {
            let upload = upload(&archive(command, name), true).expect(name);
            let files = paths(&upload);
            assert_eq!(files[0], ("exec", 0o755, &b"#!/bin/sh\nhi\n"[..]), "{name}");
            assert_eq!((files[1].0, files[1].2), ("lib/data", &b"d"[..]), "{name}");
            assert_eq!(files[1].1 & 0o100, 0, "{name}");
        }
    }

    #[test]
    fn what_is_no_program_is_refused_with_the_contracts_words() {
        test_support::needs!("/usr/bin/python3");
        let status = |code: &str, binary| {
            upload(code, binary)
                .map_err(|r| (r.status, r.error))
                .map(|_| ())
        };
        let missing = "The action failed to generate or locate a binary. See logs for details.";
        assert_eq!(
            status("", false),
            Err((403, "Missing main/no code to execute.".to_owned()))
        );
        assert!(status("=", true).is_err_and(
            |(status, why)| status == 400 && why.starts_with("cannot decode the request: ")
        ));
        let zip = "/usr/bin/python3 -c \"import zipfile; z=zipfile.ZipFile('a','w'); z.write('lib/data'); z.close()\"";
        assert_eq!(
            status(&archive(zip, "noexec"), true),
            Err((502, missing.to_owned()))
        );
        for broken in [
            &b"PK\x03\x04"[..],
            b"PK\x03\x04 and no more",
            &[0x1f, 0x8b],
            &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3],
        ] {
            let told = status(&STANDARD.encode(broken), true);
            assert!(
                told.as_ref().is_err_and(
                    |(status, why)| *status == 502 && why.starts_with("cannot unpack the ")
                ),
                "{told:?}"
            );
        }
        assert_eq!(ready(read_upload("[1")).map_err(|r| r.status), Err(400));
    }

    #[test]
    fn no_path_of_an_archive_leads_out_of_its_folder() {
        test_support::needs!("/usr/bin/python3");
        for (given, inside_) in [
            ("../../etc/x", "etc/x"),
            ("/a/./b//c", "a/b/c"),
            ("a/../../b", "b"),
            ("..", ""),
            ("./exec", "exec"),
        ] {
            assert_eq!(inside(given), inside_);
        }
        let zip = "/usr/bin/python3 -c \"import zipfile; z=zipfile.ZipFile('a','w'); z.writestr('../../up','u'); z.writestr('/exec','e'); z.close()\"";
        let upload = upload(&archive(zip, "slip"), true).expect("a program");
        assert!(
            paths(&upload)
                .iter()
                .all(|(path, ..)| !path.starts_with('/') && !path.contains("..")),
            "{:?}",
            paths(&upload)
        );
    }

    #[test]
    fn a_call_is_one_line_and_an_answer_an_object_or_an_array() {
        assert_eq!(call_line("{\"value\":\n {}}\r\n"), b"{\"value\": {}}\n");
        assert_eq!(answer_of(b"{\"a\":1}").0, 200);
        assert_eq!(answer_of(b"[1]\r").0, 200);
        for line in [&b"1"[..], b"", b"half {", b"\xff", b"null"] {
            let (status, body) = answer_of(line);
            assert_eq!(status, 502);
            assert!(String::from_utf8_lossy(&body).contains(NO_DICTIONARY));
        }
    }

    #[test]
    fn lines_of_parts_begin_with_a_plus() {
        let head = Json::parse(r#"{"statusCode":201}"#).unwrap();
        assert_eq!(
            read_line(br#"+{"statusCode":201}"#, false),
            Line::Head(head)
        );
        assert_eq!(read_line(br#"+"a\nb""#, true), Line::Part(b"a\nb".to_vec()));
        assert_eq!(
            read_line(br#"+{"base64":"AAH/"}"#, true),
            Line::Part(alloc::vec![0, 1, 255])
        );
        for (line, has_begun) in [
            (&br#"{"statusCode":201}"#[..], false),
            (br#""text""#, true),
            (br#"+"too early""#, false),
            (b"+", true),
            (b"+nonsense", true),
            (br#"+{"statusCode":201}"#, true),
            (br#"+{"base64":"?"}"#, true),
            (b"+[1]", true),
            (b"", true),
        ] {
            assert_eq!(read_line(line, has_begun), Line::Answer, "{line:?}");
        }
    }
}
