//! What an image makes of `virtio_mmio.device=`: as monitors write it, and as they should not.

use ebb_firmware::virtio_mmio::{Device, devices, split_appended};

fn device(address: u64, length: u64, line: u32) -> Device {
    Device {
        address,
        length,
        line,
    }
}

#[test]
fn devices_are_named_as_monitors_write_them() {
    // QEMU's microvm, Firecracker, and what Linux documents beside.
    for (value, said) in [
        ("512@0xfeb00e00:12", device(0xfeb0_0e00, 512, 12)),
        ("4K@0xd0000000:5", device(0xd000_0000, 4096, 5)),
        ("4k@0xD0001000:23", device(0xd000_1000, 4096, 23)),
        ("1M@0x1e000000:74", device(0x1e00_0000, 1 << 20, 74)),
        ("0x200@0X100b0000:48:0", device(0x100b_0000, 512, 48)),
        ("512@4272947200:5:7", device(0xfeb0_0000, 512, 5)),
    ] {
        assert_eq!(Device::parse(value), Some(said), "{value}");
    }
}

#[test]
fn what_cannot_be_a_device_is_refused() {
    for value in [
        "",
        "@",
        "@:",
        "512",
        "512@",
        "512@0xfeb00000",
        "512@0xfeb00000:",
        "512@0xfeb00000:0",
        "512@0xfeb00000:5:",
        "512@0xfeb00000:5:x",
        "512@0xfeb00000:5:1:2",
        "512@0xfeb00000:-5",
        "512@0xfeb00000:+5",
        "512@0xfeb00000:4294967296",
        "512@-1:5",
        "512@0x:5",
        "512@0xg0:5",
        "512@feb00000:5",
        "512@0xfeb00002:5",
        "512@0:5",
        "512@010000:5",
        "512@0xfffffffffffffe00:5",
        "512@0x10000000000000:5",
        "512@0x1ffffffffffffffff:5",
        "0@0xfeb00000:5",
        "255@0xfeb00000:5",
        "K@0xfeb00000:5",
        "4KK@0xfeb00000:5",
        "4T@0xfeb00000:5",
        "2M@0xfeb00000:5",
        "17179869184G@0xfeb00000:5",
        "512@0xfeb00000:5 ",
        "\u{e9}@0xfeb00000:5",
        "5\u{212a}@0xfeb00000:5",
    ] {
        assert_eq!(Device::parse(value), None, "{value}");
    }
}

#[test]
fn a_line_is_read_in_its_order_before_the_arguments_and_at_its_end() {
    let first = device(0xfeb0_0e00, 512, 12);
    let second = device(0xfeb0_0c00, 512, 11);
    let word = |d: &Device| {
        format!(
            "virtio_mmio.device={}@{:#x}:{}",
            d.length, d.address, d.line
        )
    };
    let both = format!("{}  {}", word(&first), word(&second));
    let read = |line: &str| devices(line).collect::<Vec<_>>();
    // Firecracker's, QEMU's, and QEMU's to an image without options.
    assert_eq!(read(&format!("ip=dhcp {both} -- a")), [first, second]);
    assert_eq!(read(&format!("ip=dhcp -- a b {both}")), [first, second]);
    assert_eq!(read(&format!(" {both} ")), [first, second]);
    assert_eq!(
        read(&format!("{} -- a {}", word(&first), word(&second))),
        [first, second]
    );
    // An argument in the midst is an argument.
    assert_eq!(read(&format!("-- {} b", word(&first))), []);
    assert_eq!(read("-- a"), []);
    assert_eq!(read(""), []);
    // Linux' other options of that module, and a malformed one at the end.
    assert_eq!(read("virtio_mmio.devices=512@0xfeb00e00:12"), []);
    assert_eq!(read("-- virtio_mmio.device=512@:12"), []);
}

#[test]
fn what_a_monitor_appended_is_no_argument() {
    let word = "virtio_mmio.device=512@0xfeb00e00:12";
    for (own, appended) in [
        ("-- a b", String::new()),
        ("ip=dhcp -- a b", format!(" {word}")),
        ("-- a\t", format!("\n{word} {word} ")),
        ("", word.to_string()),
        (&format!("-- {word} a"), format!(" {word}")),
        ("-- virtio_mmio.device=1", format!(" {word}")),
    ] {
        let line = format!("{own}{appended}");
        let (user, monitor) = split_appended(&line);
        assert_eq!(user.trim_end(), own.trim_end(), "{line}");
        assert_eq!(monitor.trim(), appended.trim(), "{line}");
        assert_eq!(format!("{user}{monitor}"), line);
    }
}

#[test]
fn any_change_of_a_byte_is_read_without_harm() {
    let line =
        "ip=dhcp -- a virtio_mmio.device=4K@0xd0000000:5:1 virtio_mmio.device=512@0xfeb00e00:12";
    for at in 0..line.len() {
        for byte in 0..=0x7f {
            let mut damaged = line.as_bytes().to_vec();
            damaged[at] = byte;
            let damaged = String::from_utf8(damaged).expect("ASCII");
            for found in devices(&damaged) {
                assert!(found.address.checked_add(found.length).is_some() && found.line > 0);
            }
            let cut = &damaged[..at];
            assert!(devices(cut).count() <= 2, "{cut}");
            let (own, appended) = split_appended(cut);
            assert_eq!(own.len() + appended.len(), cut.len());
        }
    }
}
