//! `cargo ebb image`: files that boot a program on machines without this runner.
//!
//! | file | what it does |
//! |---|---|
//! | `content.rs` | what goes in: the image without what only debuggers read, its boot archive, its command line |
//! | `disk.rs` | a disk and CD in one, with GRUB for BIOS and for UEFI |
//! | `oci.rs` | a container image |
//!
//! What must hold: the same sources give the same bytes, whenever and wherever; so every time in them is `SOURCE_DATE_EPOCH`, or
//! the first second of 1980, the first that all the formats know.

mod content;
mod disk;
mod oci;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use content::Content;
use ebb_runner::config::places;

use crate::{
    arguments::{Build, Format, Image},
    failure::{Failure, Result, at},
    program,
    project::{no_program, text},
    run::find,
    say::say,
};

/// Builds the program and writes the files.
///
/// # Errors
/// When there is no project, the image cannot be built, or a program that is needed is missing.
pub fn image(options: &Image) -> Result<ExitCode> {
    content::check(&options.option)?;
    let project = find(&options.build)?;
    let (kind, name) = match (&options.build.bin, &options.build.example) {
        (Some(bin), _) => ("--bin", bin.clone()),
        (_, Some(example)) => ("--example", example.clone()),
        _ => (
            "--bin",
            only(project.targets("bin").into_iter().map(|t| t.name).collect())?,
        ),
    };
    let folder = match &options.output {
        Some(folder) => folder.clone(),
        None => Path::new(text(project.metadata(), "target_directory")).join("image"),
    };
    check_folder(&folder)?;
    let build = Build {
        release: !options.dev,
        package: options.build.package.clone(),
        bin: None,
        example: None,
        features: options.build.features.clone(),
        manifest_path: options.build.manifest_path.clone(),
    };
    let path = program::build(kind, &name, &build, program::Symbols::Profile)?;
    let content = Content::of(&path, &options.option, &options.arguments)?;
    fs::create_dir_all(&folder).map_err(at(folder.display()))?;
    let mut made = Vec::new();
    for format in [
        Format::Kernel,
        Format::Iso,
        Format::Raw,
        Format::Qcow2,
        Format::Oci,
    ] {
        if options.format.contains(&format) {
            made.push(make(format, &content, &folder, &name)?);
        }
    }
    for (path, how) in &made {
        say!(
            "{:>9}  {}\n           {how}",
            size(bytes(path)),
            path.display()
        );
    }
    say!("in each:");
    for (what, length) in content.parts() {
        say!("{:>9}  {what}", size(length));
    }
    Ok(ExitCode::SUCCESS)
}

/// Before a build that takes minutes: whether a folder can be made, or written to.
fn check_folder(folder: &Path) -> Result<()> {
    let folder = std::path::absolute(folder).map_err(at(folder.display()))?;
    // The innermost that is there, with or without the rest.
    let there = folder.ancestors().find(|path| path.exists());
    let there = there.unwrap_or(Path::new("/"));
    places::can_be_made(&there.join("file")).map_err(|why| {
        Failure(format!(
            "--output {}: {why}; name another folder",
            folder.display()
        ))
    })
}

/// The one program of a package.
pub fn only(mut names: Vec<String>) -> Result<String> {
    match (names.pop(), names.is_empty()) {
        (Some(name), true) => Ok(name),
        (Some(last), false) => Err(Failure(format!(
            "which program? Say `--bin NAME`: {}, {last}",
            names.join(", ")
        ))),
        (None, _) => Err(no_program()),
    }
}

/// QEMU's own network, by a card that images have a driver for.
const NETWORK: &str = " -netdev user,id=net -device virtio-net-pci,netdev=net";

/// Makes one file; its path, and how it is booted.
fn make(format: Format, content: &Content, folder: &Path, name: &str) -> Result<(PathBuf, String)> {
    let path = folder.join(format!("{name}{}", suffix(format)));
    let shown = path.display();
    let (cpu, memory) = (content.cpu(), content.memory_mib());
    let how = match format {
        Format::Kernel => {
            fs::write(&path, &content.image).map_err(at(&shown))?;
            let archive = folder.join(format!("{name}.archive"));
            let initrd = match &content.archive {
                Some(bytes) => {
                    fs::write(&archive, bytes).map_err(at(archive.display()))?;
                    format!(" -initrd {}", archive.display())
                }
                None => String::new(),
            };
            format!(
                "qemu-system-x86_64 -M microvm -cpu {cpu} -m {memory} -nographic -global virtio-mmio.force-legacy=false \
                 -netdev user,id=net -device virtio-net-device,netdev=net -kernel {shown}{initrd} -append '{}'",
                content.command_line
            )
        }
        Format::Iso => {
            disk::write(content, &path)?;
            format!("qemu-system-x86_64 -cpu {cpu} -m {memory} -nographic{NETWORK} -cdrom {shown}")
        }
        Format::Raw => {
            disk::write(content, &path)?;
            format!(
                "qemu-system-x86_64 -cpu {cpu} -m {memory} -nographic{NETWORK} -drive file={shown},format=raw,if=virtio; or written to a disk"
            )
        }
        Format::Qcow2 => {
            let raw = folder.join(format!(".{name}.raw"));
            disk::write(content, &raw)?;
            let convert = Command::new("qemu-img")
                .args(["convert", "-f", "raw", "-O", "qcow2"])
                .args([&raw, &path])
                .output();
            let _ = fs::remove_file(&raw);
            disk::succeeded("qemu-img", convert)?;
            format!(
                "qemu-system-x86_64 -cpu {cpu} -m {memory} -nographic{NETWORK} -drive file={shown},if=virtio"
            )
        }
        Format::Oci => {
            oci::write(content, &path, name)?;
            format!(
                "skopeo copy oci:{shown} docker://REGISTRY/{name}; a urunc that knows the kind `ebb` then runs it"
            )
        }
    };
    Ok((path, how))
}

fn suffix(format: Format) -> &'static str {
    match format {
        Format::Raw => ".img",
        Format::Iso => ".iso",
        Format::Qcow2 => ".qcow2",
        Format::Oci => ".oci",
        Format::Kernel => ".elf",
    }
}

/// The length of a file, or of all files of a folder.
fn bytes(path: &Path) -> u64 {
    match fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| bytes(&entry.path())).sum(),
        Err(_) => fs::metadata(path).map_or(0, |meta| meta.len()),
    }
}

fn size(bytes: u64) -> String {
    if bytes < 10 << 20 {
        format!("{} KiB", bytes.div_ceil(1024))
    } else {
        format!("{} MiB", bytes.div_ceil(1 << 20))
    }
}
