//! A disk and CD in one, which boots by BIOS and by UEFI, as GRUB's own rescue disks do: an ISO 9660 file system with the image
//! and its archive, El Torito entries for both firmwares, a boot sector for BIOS, and an EFI system partition with GRUB in it. GRUB
//! loads the image by Multiboot2. It tells the image what the file system is called, after its contents: the disk that a machine was
//! booted from is none of the program's.
//!
//! The parts are made by the programs that the world makes them with (Debian: grub-common, grub-pc-bin, grub-efi-amd64-bin, mtools,
//! xorriso), which are installed when they are missing, as QEMU is.

use std::{
    env, fs,
    fs::FileTimes,
    io,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ebb_runner::install;
use sha2::{Digest, Sha256};

use super::content::{Content, refuses};
use crate::failure::{Failure, Result, at};

const NEEDS: [&str; 5] = [
    "grub-mkimage",
    "/usr/lib/grub/i386-pc",
    "/usr/lib/grub/x86_64-efi",
    "mformat",
    "xorriso",
];

/// What GRUB needs to find a file on a disk or CD, and to boot it.
const MODULES: [&str; 8] = [
    "fat",
    "iso9660",
    "multiboot2",
    "normal",
    "part_gpt",
    "part_msdos",
    "search",
    "search_fs_file",
];

/// The first second that FAT knows.
const FIRST: u64 = 315_532_800;

/// The time of everything in the file, in seconds since 1970.
pub fn time() -> u64 {
    let said = env::var("SOURCE_DATE_EPOCH").ok();
    said.and_then(|value| value.parse().ok())
        .unwrap_or(FIRST)
        .max(FIRST)
}

/// A folder for the parts; gone when they are put together.
struct Parts(PathBuf);

impl Drop for Parts {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes the disk.
pub fn write(content: &Content, path: &Path) -> Result<()> {
    install::install_tools(NEEDS.into_iter(), refuses())?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".parts");
    let parts = Parts(path.with_file_name(name));
    let parts = &parts.0;
    let _ = fs::remove_dir_all(parts);
    let boot = parts.join("tree/boot");
    fs::create_dir_all(&boot).map_err(at(boot.display()))?;
    let put = |path: &Path, bytes: &[u8]| fs::write(path, bytes).map_err(at(path.display()));
    put(&boot.join("image"), &content.image)?;
    if let Some(archive) = &content.archive {
        put(&boot.join("archive"), archive)?;
    }
    put(&parts.join("grub.cfg"), script(content).as_bytes())?;
    grub(
        parts,
        "i386-pc-eltorito",
        &["biosdisk"],
        "tree/boot/bios.img",
    )?;
    grub(parts, "x86_64-efi", &[], "BOOTX64.EFI")?;
    age(parts)?;
    system_partition(parts)?;
    put_together(parts, &volume(content))?;
    let whole = parts.join("whole.iso");
    // Whole MiB, as clouds want disks.
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&whole)
        .map_err(at(whole.display()))?;
    let length = file.metadata().map_err(at(whole.display()))?.len();
    file.set_len(length.next_multiple_of(1 << 20))
        .map_err(at(whole.display()))?;
    fs::rename(&whole, path).map_err(at(path.display()))
}

/// What GRUB does. Nothing in a command line ends a text in single quotes: see `content.rs`.
fn script(content: &Content) -> String {
    let words: Vec<String> = content
        .command_line
        .split(' ')
        .filter(|w| !w.is_empty())
        .map(|w| format!("'{w}'"))
        .collect();
    let module = if content.archive.is_some() {
        "module2 /boot/archive\n"
    } else {
        ""
    };
    format!(
        "search --no-floppy --set=root --file /boot/image\nmultiboot2 /boot/image 'boot-volume={}' {}\n{module}boot\n",
        volume(content),
        words.join(" ")
    )
}

/// What the file system is called, which no other one is.
fn volume(content: &Content) -> String {
    let mut sum = Sha256::new();
    let archive = content.archive.as_deref().unwrap_or_default();
    for part in [&content.image, archive, content.command_line.as_bytes()] {
        sum.update((part.len() as u64).to_le_bytes());
        sum.update(part);
    }
    let digits = sum
        .finalize()
        .iter()
        .take(8)
        .fold(String::new(), |text, byte| text + &format!("{byte:02X}"));
    format!("EBB_{digits}")
}

/// Makes a GRUB for one firmware, with what it does inside.
fn grub(parts: &Path, format: &str, modules: &[&str], to: &str) -> Result<()> {
    let done = Command::new("grub-mkimage")
        .current_dir(parts)
        .args(["-O", format, "-p", "/boot", "-c", "grub.cfg", "-o", to])
        .args(modules)
        .args(MODULES)
        .output();
    succeeded("grub-mkimage", done)
}

/// Gives all files the same time.
fn age(folder: &Path) -> Result<()> {
    let time: SystemTime = UNIX_EPOCH + Duration::from_secs(time());
    let times = FileTimes::new().set_accessed(time).set_modified(time);
    for entry in fs::read_dir(folder)
        .map_err(at(folder.display()))?
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            age(&path)?;
        }
        fs::File::open(&path)
            .and_then(|file| file.set_times(times))
            .map_err(at(path.display()))?;
    }
    Ok(())
}

/// The file system that UEFI reads.
fn system_partition(parts: &Path) -> Result<()> {
    let file = parts.join("efi.img");
    // A floppy's 1,440 KiB, the smallest that every firmware reads; GRUB takes less than half.
    let made = fs::File::create(&file).and_then(|file| file.set_len(1440 << 10));
    made.map_err(at(file.display()))?;
    for words in [
        &["mformat", "-i", "efi.img", "-N", "0", "-f", "1440", "::"][..],
        &["mmd", "-i", "efi.img", "::/EFI", "::/EFI/BOOT"],
        &[
            "mcopy",
            "-m",
            "-i",
            "efi.img",
            "BOOTX64.EFI",
            "::/EFI/BOOT/BOOTX64.EFI",
        ],
    ] {
        let done = Command::new(words[0])
            .args(&words[1..])
            .current_dir(parts)
            .env("SOURCE_DATE_EPOCH", time().to_string())
            .env("TZ", "UTC")
            .output();
        succeeded(words[0], done)?;
    }
    Ok(())
}

fn put_together(parts: &Path, volume: &str) -> Result<()> {
    let done = Command::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-r", "-V", volume])
        // BIOS: from a CD, and by the boot sector from a disk.
        .args([
            "-b",
            "boot/bios.img",
            "-no-emul-boot",
            "-boot-load-size",
            "4",
            "-boot-info-table",
            "--grub2-boot-info",
        ])
        .args([
            "--grub2-mbr",
            "/usr/lib/grub/i386-pc/boot_hybrid.img",
            "--protective-msdos-label",
            "-partition_offset",
            "16",
        ])
        // UEFI: the partition, from either.
        .args([
            "-append_partition",
            "2",
            "0xef",
            "efi.img",
            "-eltorito-alt-boot",
        ])
        .args([
            "-e",
            "--interval:appended_partition_2:all::",
            "-no-emul-boot",
        ])
        .args(["-o", "whole.iso", "tree"])
        .current_dir(parts)
        .env("SOURCE_DATE_EPOCH", time().to_string())
        .env("TZ", "UTC")
        .output();
    succeeded("xorriso", done)
}

/// Says what a program says when it fails.
pub fn succeeded(program: &str, done: io::Result<Output>) -> Result<()> {
    let output = done.map_err(at(format!("{program} cannot be executed")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure(format!(
        "{program} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim_end()
    )))
}
