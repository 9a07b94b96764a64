//! TLS in images: the programs that people use reach them by the command that the image prints.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use test_support::{Image, RUNNER, cargo, invoker::Invoker, needs, runner};

/// Starts an image that forwards `port`, with a disk.
fn start(command: &mut Command, port: u16, disk: &Path) -> Image {
    let disk = format!("{},size=16M", disk.display());
    let image = Image::start(
        command
            .env("EBB_DISK", disk)
            .env("EBB_FORWARD", format!("0:{port}")),
    );
    image.says(" 10.0.2.15/24");
    image
}

/// Ends it as Ctrl-C does, after which nobody has its disk.
fn end(mut image: Image) {
    image.interrupt();
    image.wait();
}

fn fresh(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_file(&path);
    path
}

/// Runs a command line; whether it succeeded, and what it said.
fn shell(line: &str) -> (bool, String) {
    let output = Command::new("sh").args(["-c", line]).output();
    let output = output.expect("there is a shell");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// A certificate of somebody's own for `localhost`, with its key.
fn own(name: &str) -> PathBuf {
    let path = fresh(name);
    let (key, chain) = (path.with_extension("key"), path.with_extension("crt"));
    let (made, said) = shell(&format!(
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
         -keyout {key} -out {chain} && cat {chain} {key} > {path}",
        key = key.display(),
        chain = chain.display(),
        path = path.display()
    ));
    assert!(made, "{said}");
    path
}

#[test]
fn the_webserver_is_reached_as_it_says_and_takes_certificates_from_its_disk() {
    needs!("qemu-system-x86_64", "curl", "openssl");
    let disk = fresh("tls-webserver.pem");
    let boot = || {
        let webserver = cargo::example("webserver");
        let image = start(runner(&webserver, "256M", 120).arg("--tls"), 80, &disk);
        let line = image.says("try: curl");
        image.says("serving HTTPS on ");
        (image, line.trim_start_matches("try: ").to_owned())
    };
    let (image, curl) = boot();
    let ask = |curl: &str| shell(&format!("{curl} -sS -m 20 -w '%{{ssl_verify_result}}'"));
    let (good, said) = ask(&curl);
    assert!(good && said.contains("<html"), "{said}");
    // The pin is what is trusted.
    let (good, said) = ask(&curl.replace("sha256//", "sha256//AAAA"));
    assert!(!good && said.contains("pinned"), "{said}");
    let address = curl
        .rsplit_once("https://")
        .map(|(_, at)| at)
        .expect("a URL");
    let address = address.trim_end_matches('/').to_owned();
    // Sessions go on, and the client's programs agree that it is TLS 1.3.
    let session = fresh("tls-webserver.session");
    let client = |more: &str| {
        shell(&format!(
            "(printf 'GET / HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n'; sleep 1) | openssl s_client -connect {address} {more} {}",
            session.display()
        ))
    };
    let (_, said) = client("-sess_out");
    assert!(
        said.contains("New, TLSv1.3") && said.contains("<html"),
        "{said}"
    );
    let (_, said) = client("-sess_in");
    assert!(
        said.contains("Reused, TLSv1.3") && said.contains("<html"),
        "{said}"
    );
    // Others are written to the disk while it runs: somebody's own, with RSA.
    let mine = own("tls-own.pem");
    let text = fs::read(&mine).expect("openssl wrote it");
    let mut blocks = text;
    blocks.resize(16 << 10, 0);
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().write(true).open(&disk);
    file.and_then(|file| file.write_all_at(&blocks, 0))
        .expect("the disk is a file");
    image.says("has other certificates");
    let trusted = format!(
        "curl --cacert {} https://{address}/",
        mine.with_extension("crt").display()
    );
    let (good, said) = ask(&trusted);
    assert!(good && said.contains("<html"), "{said}");
    assert!(!ask(&curl).0, "the first one is gone");
    end(image);
    // The next start has them.
    let (_image, curl) = boot();
    let (good, said) = ask(&curl);
    assert!(good && said.contains("<html"), "{said}");
    let port = curl.rsplit_once(':').map_or("", |(_, port)| port);
    let trusted = format!(
        "{}:{port}",
        trusted.rsplit_once(':').map_or("", |(url, _)| url)
    );
    let (good, said) = ask(&trusted);
    assert!(good && said.contains("<html"), "{said}");
}

#[test]
fn certificates_of_the_boot_archive_come_before_those_of_a_disk() {
    needs!("qemu-system-x86_64", "curl", "openssl");
    let mine = own("tls-packed.pem");
    let manifest = fresh("tls-packed.manifest");
    fs::write(&manifest, format!("file /tls.pem {}\n", mine.display())).expect("room");
    let archive = fresh("tls-packed.archive");
    let (packed, said) = shell(&format!(
        "{RUNNER} pack {} -o {}",
        manifest.display(),
        archive.display()
    ));
    assert!(packed, "{said}");
    let disk = fresh("tls-packed.disk");
    let webserver = cargo::example("webserver");
    let mut command = runner(&webserver, "256M", 120);
    let image = start(command.arg("--tls").env("EBB_ARCHIVE", &archive), 80, &disk);
    image.says("certificate: the boot archive");
    let url = image.says("try: curl");
    let (_, url) = url.rsplit_once("https://").expect("a URL");
    image.says("serving HTTPS on ");
    let trusted = mine.with_extension("crt");
    let (good, said) = shell(&format!(
        "curl -sS -m 20 --cacert {} https://{url}",
        trusted.display()
    ));
    assert!(good && said.contains("<html"), "{said}");
    end(image);
    let kept = fs::read(&disk).expect("the runner made it");
    assert!(kept.iter().all(|byte| *byte == 0), "nothing was to be kept");
}

#[test]
fn the_invoker_keeps_its_certificate_and_takes_another_from_its_administrator() {
    needs!("qemu-system-x86_64", "node", "curl", "openssl");
    let disk = fresh("tls-invoker.disk");
    let boot = || {
        let mut command = Invoker::runner("2G", "none");
        command
            .args([
                "--auth",
                "guest:key",
                "--admin",
                "root:secret",
                "--quiet",
                "--tls",
            ])
            .env("EBB_CORES", "1")
            // As a machine that the runner has not started may have it.
            .env("EBB_RDRAND", "1");
        let image = start(&mut command, 3233, &disk);
        image.says("invoker: this CPU has RDRAND or RDSEED.");
        let listens = image.says("invoker: https://localhost:");
        let url = listens
            .split([' ', ';'])
            .nth(1)
            .expect("a URL")
            .trim_end_matches('/');
        let told = image.says("curl -k --pinnedpubkey ");
        let (_, rest) = told.split_once("--pinnedpubkey ").expect("a pin");
        let pin = rest.split(' ').next().expect("a pin").to_owned();
        image.says("the first instance was ready");
        (image, url.to_owned(), pin)
    };
    let ask =
        |pin: &str, rest: &str| shell(&format!("curl -sS -m 60 -k --pinnedpubkey {pin} {rest}"));
    let (image, url, pin) = boot();
    // The action calls the API back, at this machine's own address.
    let code = "const main = async () => ({names: (await require(\\\"openwhisk\\\")().actions.list()).map(a => a.name)})";
    let api_key = "\"annotations\":[{\"key\":\"provide-api-key\",\"value\":true}]";
    let body =
        format!("{{\"exec\":{{\"kind\":\"nodejs:default\",\"code\":\"{code}\"}},{api_key}}}");
    let api = format!("{url}/api/v1/namespaces/_/actions/names");
    let json = "-u guest:key -H 'content-type: application/json'";
    let (good, said) = ask(&pin, &format!("{json} -X PUT {api} -d '{body}'"));
    assert!(good && said.contains("\"name\":\"names\""), "{said}");
    let call = format!("{json} -X POST '{api}?blocking=true&result=true' -d '{{}}'");
    let (good, said) = ask(&pin, &call);
    assert!(good && said.contains("names"), "{said}");
    // Only the administrator exchanges certificates, and only for some that can be read.
    let put = |auth: &str, file: &str| {
        let put = format!(
            "-u {auth} -X PUT {url}/admin/certificate --data-binary @{file} -w ' %{{http_code}}'"
        );
        ask(&pin, &put).1
    };
    let mine = own("tls-invoker-own.pem");
    let mine = mine.to_str().expect("plain");
    assert!(put("guest:key", mine).ends_with(" 401"));
    assert!(put("root:secret", "/dev/null").ends_with(" 400"));
    assert!(ask(&pin, &call).0);
    assert!(put("root:secret", mine).ends_with(" 204"));
    let (good, said) = ask(&pin, &call);
    assert!(!good, "{said}");
    end(image);
    let (_image, url, newer) = boot();
    assert_ne!(pin, newer);
    let trusted = format!(
        "curl -sS -m 60 --cacert {} -u guest:key {url}/api/v1/namespaces/_/actions",
        mine.replace(".pem", ".crt")
    );
    let (good, said) = shell(&trusted);
    assert!(good && said.contains("\"names\""), "{said}");
}
