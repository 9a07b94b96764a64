use super::ahead::{MOST, Unpacked};
use super::archive::{SLICE, UnpackedFile, inflated, inside};
use super::lines::{Line, answer_of, call_line, read_line};
use super::upload::{Upload, read_upload, upload_of};
use super::*;
use alloc::borrow::ToOwned;
use base64::{Engine, engine::general_purpose::STANDARD};
use core::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};
use ebb_openwhisk::call::{Call, Caller};
use ebb_openwhisk::entity::{Action, Code, Common, Exec, Version};
use ebb_openwhisk::json::Json;
use ebb_openwhisk::limits::ActionLimits;
use ebb_openwhisk::name::FullName;
use ebb_openwhisk::runtimes::{Launch, Loader, Runtime};

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

/// A call of an action with this code.
fn call_of(code: Json, binary: bool) -> Call {
    let runtime = Runtime {
        kind: "native:default".into(),
        is_default: true,
        is_deprecated: false,
        image: String::new(),
        launch: Launch::usual(Loader::Executable),
    };
    let action = Action {
        common: Common {
            version: Version(0, 0, 3),
            ..Common::new(FullName::packaged("guest", "tools", "program"))
        },
        exec: Exec::Code(Code {
            runtime: runtime.into(),
            image: None,
            code,
            main: None,
            binary,
        }),
        limits: ActionLimits::default(),
        revision: 7,
    };
    Call {
        activation: "a".repeat(32),
        action: action.into(),
        extra: Vec::from([("weight".into(), Json::number(3))]),
        environment: Vec::from([
            ("COLOUR".into(), "r\u{e9}d \"1\"".into()),
            ("a=b".into(), "c".into()),
        ]),
        arguments: Json::parse("{}").expect("JSON"),
        caller: Caller {
            namespace: "guest".into(),
            key: Some("uuid:key".into()),
            transaction: "t".into(),
        },
        binding: None,
        cause: None,
        received_ms: 5,
        in_parts: false,
    }
}

#[test]
fn what_a_call_uploads_is_what_the_body_of_its_init_says() {
    let program: Vec<u8> = (0..200_001u32)
        .map(|n| (n.wrapping_mul(n) >> 3) as u8)
        .collect();
    let encoded = STANDARD.encode(&program);
    let escaped = encoded.replace('/', "\\/");
    assert_ne!(escaped, encoded);
    for (code, binary) in [
        (Json::text(&encoded), true),
        (Json::parse(&format!("\"{escaped}\"")).expect("JSON"), true),
        (Json::text("#!/bin/sh\necho \"\u{20ac}\""), false),
        (Json::text(""), false),
        (Json::text(""), true),
        (Json::text("A"), true),
        (Json::text("QQ\\=="), true),
    ] {
        let call = call_of(code, binary);
        let told = ready(read_upload(call.init_body(9).as_str()));
        let taken = ready(upload_of(&call, 9, None));
        assert!(taken == told, "{taken:?}");
        if let Ok(upload) = taken
            && binary
        {
            assert!(*upload.files[0].bytes == program);
            assert!(upload.environment.contains(&"__OW_WEIGHT=3".to_owned()));
        }
    }
}

#[test]
fn files_are_kept_for_the_text_they_were_unpacked_from_while_there_is_room() {
    let files = |bytes: usize| {
        [UnpackedFile {
            path: PROGRAM.into(),
            mode: 0o755,
            bytes: alloc::vec![7; bytes].into(),
        }]
    };
    let unpacked = Unpacked::default();
    let [first, second, third] = [1, 1, 1].map(Json::number);
    unpacked.keep(&first, &files(5));
    assert_eq!(unpacked.get(&first).expect("kept"), files(5));
    // Equal, but another text.
    assert_eq!(unpacked.get(&second), None);
    unpacked.keep(&second, &files(MOST / 2));
    assert!(unpacked.get(&first).is_some() && unpacked.get(&second).is_some());
    // Whatever was used last stays.
    unpacked.keep(&first, &files(6));
    unpacked.keep(&third, &files(MOST / 2));
    assert!(unpacked.get(&second).is_none() && unpacked.get(&third).is_some());
    assert_eq!(unpacked.get(&first).expect("kept"), files(6));
    unpacked.keep(&second, &files(MOST / 2 + 1));
    assert!(unpacked.get(&second).is_none() && unpacked.get(&third).is_some());
    unpacked.forget(&third);
    assert!(unpacked.get(&third).is_none() && unpacked.get(&first).is_some());
    // What nobody has any more goes with the next one that comes.
    let bytes = unpacked.get(&first).expect("kept")[0].bytes.clone();
    drop(first);
    unpacked.keep(&second, &files(1));
    assert_eq!(alloc::sync::Arc::strong_count(&bytes), 1);
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
    let log = upload(&archive(zip, "noexec"), true).map_err(|refusal| refusal.log);
    let says = "The archive has no file 'exec' at its top, which would be run; it has: lib/data";
    assert_eq!(log.map(|_| ()), Err(Some(says.to_owned())));
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
fn what_is_large_is_unpacked_in_slices_and_what_is_too_large_is_refused() {
    let content = alloc::vec![7; 10 * SLICE + 1];
    let deflated = miniz_oxide::deflate::compress_to_vec(&content, 1);
    let mut events = 0;
    let mut unpacking = pin!(inflated(&deflated, content.len()));
    let (unpacked, checksum) = loop {
        events += 1;
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(done) = unpacking.as_mut().poll(&mut context) {
            break done.expect("it fits");
        }
    };
    assert!(unpacked == content);
    assert_eq!(checksum, rawzip::crc32(&content));
    assert!(events > 10, "{events} events");
    let refused = ready(inflated(&deflated, content.len() - 1));
    assert_eq!(refused.map(drop), Err("it is too large".to_owned()));
    let short = ready(inflated(&deflated[..deflated.len() / 2], content.len()));
    assert!(short.is_err());
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
    // That is one of Go's maps, for `runHandler.go`.
    assert_eq!(answer_of(b"null"), (200, b"null\n".to_vec()));
    for line in [&b"1"[..], b"", b"half {", b"\xff", b"nul", b"{\"a\":NaN}"] {
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
