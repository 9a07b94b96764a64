//! An image searches the files of a process.

#[path = "../../examples/offload/search.rs"]
mod search;

use std::fs;

use ebb::EbbRef;
use ebb_distributed::{Nodes, RemoteRef, Start};
use ebb_launch as _;
use ebb_offload::Share;
use ebb_offload_hosted as _;
use search::{Found, Search};
use test_support::{cargo, needs, scratch};

#[test]
fn an_image_finds_the_lines_of_a_processs_files() {
    needs!("qemu-system-x86_64");
    let image = cargo::example("offload");
    let folder = scratch("offload-image");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("deep/er")).expect("a folder");
    let long = format!("{}\nfound at the end", "no word\n".repeat(100_000));
    fs::write(folder.join("long"), &long).expect("written");
    fs::write(folder.join("deep/er/file"), "one\ntwo found\n").expect("written");
    fs::write(folder.join("none"), "nothing here").expect("written");
    let read = long.len() + 14 + 12;
    std::os::unix::fs::symlink("..", folder.join("deep/up")).expect("a link");
    let shared = folder.clone();
    let one = ebb_hosted::Config {
        cores: 1,
        pin: false,
    };
    let mut lines = ebb_hosted::run(&one, async move || {
        Share::new()
            .directory(shared.to_str().expect("a path in UTF-8"))
            .serve()
            .expect("it is there");
        let start = Start::new(image.to_str().expect("a path in UTF-8"))
            .argument("back")
            .setting("EBB_CORES", "1")
            .setting("EBB_MEMORY", "128M")
            .setting("EBB_TIMEOUT", "300");
        let nodes = Nodes::start(start, 1).await.expect("the image joins");
        let mut found = EbbRef::<Search>::new()
            .at(nodes.nodes()[0])
            .lines("found".into());
        let mut lines = Vec::new();
        while let Some(found) = found.next().await {
            lines.push(match found.expect("no call fails") {
                Found::Line { path, number, text } => format!("{path}:{number}: {text}"),
                Found::Skipped { path, why } => panic!("{path}: {why}"),
                Found::End { files, bytes, .. } => format!("{files} files, {bytes} bytes"),
            });
        }
        lines
    });
    let _ = fs::remove_dir_all(&folder);
    lines.sort();
    assert_eq!(
        lines,
        [
            format!("3 files, {read} bytes"),
            "deep/er/file:2: two found".into(),
            "long:100002: found at the end".into(),
        ]
    );
}
