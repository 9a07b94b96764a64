//! The virtual machine: QEMU's arguments.
//!
//! A board (q35 if nobody says: PCI Express with ECAM, ACPI tables) with nothing on it that the image does not
//! use: a virtio network card without option ROM, COM1, the debug console and the exit device.
//! What each of these is worth is measured by tests/startup.rs; docs/src/runner.md has the figures.

use std::{ffi::OsString, path::Path};

use ebb_disk::Spec;

use crate::{
    config::{Accel, Board, Config, Firmware, MICROVM_DEVICES},
    image::Image,
    net::{Forward, Net, Protocol, Tap},
    qemu::{Qemu, Version},
    vsock::Vsock,
};

/// I/O port of the exit device.
const EXIT_PORT: &str = "0xf4";
/// I/O port of the debug console.
const REPORT_PORT: &str = "0xe9";

/// The descriptors that QEMU inherits beside its standard ones.
#[derive(Debug, Clone, Copy)]
pub struct Inherited {
    /// A pipe for the debug console's output.
    pub report: i32,
    /// A socket for the monitor.
    pub monitor: i32,
    /// One for the socket device, where a program does its work.
    pub vsock: Option<i32>,
    /// A file of the image's symbols.
    pub symbols: Option<i32>,
}

/// QEMU's arguments.
pub fn arguments(
    config: &Config,
    image: &Image,
    qemu: &Qemu,
    accel: Accel,
    memory_mib: u64,
    command_line: &str,
    inherited: Inherited,
) -> Vec<OsString> {
    let mut args = Arguments(Vec::new());
    args.add("-no-user-config", None);
    args.add("-nodefaults", None);
    args.option(
        "-name",
        &format!("guest={},debug-threads=on", escape(&image.name())),
    );

    let mut machine = board(config.machine, qemu);
    if inherited.vsock.is_some() {
        // The program reads and writes the machine's memory.
        machine.push_str(",memory-backend=memory");
        args.option(
            "-object",
            &format!("memory-backend-memfd,id=memory,size={memory_mib}M,share=on"),
        );
    }
    args.option("-machine", &machine);
    if config.machine == Board::Microvm {
        args.option("-global", "virtio-mmio.force-legacy=false");
    }
    args.option(
        "-accel",
        if accel == Accel::Kvm {
            "kvm"
        } else {
            "tcg,thread=multi"
        },
    );
    args.option("-cpu", &processor(accel, config.rdrand));
    args.option("-smp", &config.cores.to_string());
    args.option("-m", &format!("{memory_mib}M"));
    // A microvm comes with it.
    if config.machine != Board::Microvm && firmware(config, image, qemu) == Firmware::Qboot {
        args.add(
            "-bios",
            Some(
                qemu.qboot
                    .as_deref()
                    .unwrap_or(Path::new("qboot.rom"))
                    .into(),
            ),
        );
    }

    args.add("-kernel", Some(image.path.clone().into()));
    // The image takes names from here when it prints a backtrace.
    if let Some(symbols) = inherited.symbols {
        args.option(
            "-fw_cfg",
            &format!("name=opt/ebb/image,file=/proc/self/fd/{symbols}"),
        );
    }
    if !command_line.is_empty() {
        args.option("-append", command_line);
    }
    if let Some(archive) = &config.archive {
        args.add("-initrd", Some(archive.clone().into()));
    }

    args.option("-display", "none");
    args.option("-chardev", "stdio,id=console,signal=off");
    args.option("-serial", "chardev:console");
    args.option(
        "-chardev",
        &format!("file,id=report,path=/proc/self/fd/{}", inherited.report),
    );
    args.option(
        "-device",
        &format!("isa-debugcon,iobase={REPORT_PORT},chardev=report"),
    );
    args.option(
        "-device",
        &format!("isa-debug-exit,iobase={EXIT_PORT},iosize=4"),
    );
    args.option(
        "-chardev",
        &format!("socket,id=monitor,fd={}", inherited.monitor),
    );
    args.option("-mon", "chardev=monitor,mode=control");
    // A machine that stops stays for a look at its cores; the runner then ends it.
    args.option("-action", "reboot=shutdown,shutdown=pause");

    networks(config, &mut args);
    channels(config, &mut args);
    vsock(config, inherited.vsock, &mut args);
    for (number, disk) in config.disks.iter().enumerate() {
        attach(number, disk, config.machine, &mut args);
    }
    if config.rng {
        args.option("-device", &virtio("rng", config.machine));
    }
    if let Some(port) = config.gdb {
        args.option("-gdb", &format!("tcp:127.0.0.1:{port}"));
        args.add("-S", None);
    }
    args.0.extend(config.qemu_args.iter().map(OsString::from));
    args.0
}

/// The processor: all that QEMU has, with or without the instructions that draw random numbers. No kernel sees who draws by these.
fn processor(accel: Accel, rdrand: bool) -> String {
    let model = if accel == Accel::Kvm { "host" } else { "max" };
    let without = if rdrand { "" } else { ",rdrand=off,rdseed=off" };
    format!("{model}{without}")
}

/// QEMU's name and options of a board. Each of these takes the firmware or QEMU itself some milliseconds.
fn board(board: Board, qemu: &Qemu) -> String {
    let mut machine = String::from(match board {
        Board::Q35 => "q35,smm=off,sata=off,smbus=off,usb=off,vmport=off",
        Board::Pc => "pc,smm=off,smbus=off,usb=off,vmport=off",
        // With ACPI its devices would be in tables of byte code, which an image does not run.
        Board::Microvm => return "microvm,acpi=off,auto-kernel-cmdline=on".into(),
    });
    if qemu.version >= Version(7, 0) {
        machine.push_str(",i8042=off");
    }
    machine
}

/// How much QEMU may add to the command line: the devices' places.
pub fn appended_bytes(board: Board) -> usize {
    match board {
        Board::Q35 | Board::Pc => 0,
        Board::Microvm => MICROVM_DEVICES * " virtio_mmio.device=512@0xfeb00e00:12".len(),
    }
}

/// QEMU's name of a virtio device, and that it has the interface of VIRTIO 1.0.
fn virtio(kind: &str, board: Board) -> String {
    match board {
        Board::Q35 | Board::Pc => format!("virtio-{kind}-pci,disable-legacy=on"),
        Board::Microvm => format!("virtio-{kind}-device"),
    }
}

/// The user's firmware, else the fastest that the image can do with.
pub fn firmware(config: &Config, image: &Image, qemu: &Qemu) -> Firmware {
    config
        .firmware
        .unwrap_or(if image.assigns_pci && qemu.qboot.is_some() {
            Firmware::Qboot
        } else {
            Firmware::SeaBios
        })
}

/// The channels to the host: one console device, with a port for each.
fn channels(config: &Config, args: &mut Arguments) {
    if config.channels.is_empty() {
        return;
    }
    let device = match config.machine {
        Board::Microvm => "virtio-serial-device",
        _ => "virtio-serial-pci,disable-legacy=on",
    };
    // Port 0 is for a console.
    let ports = config.channels.len() + 1;
    args.option("-device", &format!("{device},max_ports={ports}"));
    for (number, channel) in config.channels.iter().enumerate() {
        let path = escape(&channel.path.to_string_lossy());
        args.option(
            "-chardev",
            &format!("socket,id=channel{number},path={path},server=on,wait=off"),
        );
        let port = format!(
            "virtserialport,chardev=channel{number},name={},nr={}",
            channel.name,
            number + 1
        );
        args.option("-device", &port);
    }
}

/// The socket device: the kernel's, or that of the program at the other end of a socket.
fn vsock(config: &Config, program: Option<i32>, args: &mut Arguments) {
    let bus = match config.machine {
        Board::Microvm => "device",
        _ => "pci",
    };
    match (&config.vsock, program) {
        (Some(Vsock::Kernel(cid)), _) => {
            args.option("-device", &format!("vhost-vsock-{bus},guest-cid={cid}"));
        }
        (Some(Vsock::Unix(_)), Some(fd)) => {
            args.option("-chardev", &format!("socket,id=vsock,fd={fd}"));
            args.option("-device", &format!("vhost-user-vsock-{bus},chardev=vsock"));
        }
        _ => {}
    }
}

/// The network cards, in their order: that is how the image finds them.
fn networks(config: &Config, args: &mut Arguments) {
    let mut forwards = &config.forwards[..];
    for (number, net) in config.nets.iter().enumerate() {
        let id = match number {
            0 => String::from("net"),
            _ => format!("net{number}"),
        };
        let mut card = virtio("net", config.machine) + ",netdev=" + &id;
        if config.machine != Board::Microvm {
            card.push_str(",romfile=");
        }
        match net {
            Net::User => {
                // Ports are forwarded from the first.
                args.option("-netdev", &user(&id, number, forwards));
                forwards = &[];
            }
            Net::Tap(tap) => args.option("-netdev", &tap_device(&id, tap, &mut card)),
        }
        args.option("-device", &card);
    }
}

fn user(id: &str, number: usize, forwards: &[Forward]) -> String {
    let mut user = format!("user,id={id}");
    if number > 0 {
        // Each has a network of its own, as if they were one beside the other; the first has QEMU's.
        user.push_str(&format!(
            ",net=10.0.{}.0/24,ipv6-prefix=fec0:0:0:{number:x}::",
            2 + number
        ));
    }
    for f in forwards {
        let protocol = if f.protocol == Protocol::Tcp {
            "tcp"
        } else {
            "udp"
        };
        user.push_str(&format!(
            ",hostfwd={protocol}:{}:{}-:{}",
            f.address, f.host, f.guest
        ));
    }
    user
}

fn tap_device(id: &str, tap: &Tap, card: &mut String) -> String {
    let mut host = format!(
        "tap,id={id},ifname={},script=no,downscript=no",
        escape(&tap.interface)
    );
    if tap.queues > 1 {
        host.push_str(&format!(",queues={}", tap.queues));
        // One vector for each queue, one for configuration changes, one for the control queue.
        card.push_str(&format!(",mq=on,vectors={}", 2 * tap.queues + 2));
    }
    if tap.vhost {
        host.push_str(",vhost=on");
    }
    if let Some(mac) = &tap.mac {
        card.push_str(&format!(",mac={mac}"));
    }
    host
}

/// A virtio disk. What fails is told to the image, which QEMU would otherwise stop.
fn attach(number: usize, disk: &Spec, board: Board, args: &mut Arguments) {
    let mut file = OsString::from(format!(
        "if=none,id=disk{number},format={},cache={}{},file=",
        disk.format.name(),
        disk.cache.name(),
        if disk.read_only { ",readonly=on" } else { "" },
    ));
    file.push(&disk.path);
    args.add("-drive", Some(file));
    args.option(
        "-device",
        &format!(
            "{},drive=disk{number},num-queues=1,werror=report,rerror=report",
            virtio("blk", board)
        ),
    );
}

/// A comma inside a value of QEMU's `key=value,...` syntax is doubled.
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

struct Arguments(Vec<OsString>);

impl Arguments {
    fn add(&mut self, name: &str, value: Option<OsString>) {
        self.0.push(name.into());
        self.0.extend(value);
    }

    fn option(&mut self, name: &str, value: &str) {
        self.add(name, Some(value.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn line(pairs: &[(&str, &str)], qemu: &Qemu, accel: Accel) -> String {
        let config = config::parse(
            |n| pairs.iter().find(|(k, _)| *k == n).map(|(_, v)| v.into()),
            2,
        )
        .unwrap();
        let image = Image {
            path: "/t/he,llo-0123456789abcdef".into(),
            assigns_pci: true,
            manifest: None,
            variables: Vec::new(),
            environment_for: None,
            bakes: false,
            defaults: Vec::new(),
        };
        let inherited = Inherited {
            report: 7,
            monitor: 8,
            vsock: matches!(config.vsock, Some(Vsock::Unix(_))).then_some(9),
            symbols: Some(10),
        };
        let args = arguments(
            &config,
            &image,
            qemu,
            accel,
            config.memory(0),
            "a=b -- c",
            inherited,
        );
        args.iter()
            .map(|a| a.to_str().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn qemu() -> Qemu {
        Qemu {
            program: "/q".into(),
            version: Version(7, 2),
            qboot: Some("/f/qboot.rom".into()),
        }
    }

    #[test]
    fn the_machine_has_what_the_variables_say() {
        let all = line(
            &[
                ("EBB_CORES", "4"),
                ("EBB_MEMORY", "2G"),
                ("EBB_ARCHIVE", "/a"),
                ("EBB_QEMU_ARGS", "-d int"),
            ],
            &qemu(),
            Accel::Tcg,
        );
        for part in [
            "-smp 4",
            "-m 2048M",
            "-initrd /a",
            "-append a=b -- c",
            "-kernel /t/he,llo-0123456789abcdef",
            "guest=he,,llo,",
            "-fw_cfg name=opt/ebb/image,file=/proc/self/fd/10",
        ] {
            assert!(all.contains(part), "{part} in {all}");
        }
        assert!(
            all.contains("-accel tcg,thread=multi -cpu max") && all.ends_with("-d int"),
            "{all}"
        );
        assert!(line(&[], &qemu(), Accel::Kvm).contains("-accel kvm -cpu host"));
    }

    #[test]
    fn the_firmware_is_qboot_where_the_image_and_qemu_have_it() {
        assert!(line(&[], &qemu(), Accel::Tcg).contains("-bios /f/qboot.rom"));
        assert!(!line(&[("EBB_FIRMWARE", "seabios")], &qemu(), Accel::Tcg).contains("-bios"));
        assert!(
            !line(
                &[],
                &Qemu {
                    qboot: None,
                    ..qemu()
                },
                Accel::Tcg
            )
            .contains("-bios")
        );
    }

    #[test]
    fn an_option_newer_than_the_qemu_is_left_out() {
        assert!(line(&[], &qemu(), Accel::Tcg).contains("i8042=off"));
        assert!(
            !line(
                &[],
                &Qemu {
                    version: Version(6, 2),
                    ..qemu()
                },
                Accel::Tcg
            )
            .contains("i8042")
        );
    }

    #[test]
    fn the_network_is_user_tap_or_none() {
        let user = line(
            &[("EBB_FORWARD", "8080:80,udp:0.0.0.0:53:53")],
            &qemu(),
            Accel::Tcg,
        );
        assert!(
            user.contains("user,id=net,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=udp:0.0.0.0:53-:53"),
            "{user}"
        );
        let tap = line(
            &[("EBB_NET", "tap:t0,queues=4,mac=52:54:00:01:02:03,vhost")],
            &qemu(),
            Accel::Tcg,
        );
        assert!(
            tap.contains("tap,id=net,ifname=t0,script=no,downscript=no,queues=4,vhost=on"),
            "{tap}"
        );
        assert!(
            tap.contains("romfile=,mq=on,vectors=10,mac=52:54:00:01:02:03"),
            "{tap}"
        );
        assert!(!line(&[("EBB_NET", "none")], &qemu(), Accel::Tcg).contains("net,"));
        let both = line(
            &[("EBB_NET", "user;tap:t0;user"), ("EBB_FORWARD", "8080:80")],
            &qemu(),
            Accel::Tcg,
        );
        for part in [
            "user,id=net,hostfwd=tcp:127.0.0.1:8080-:80",
            "tap,id=net1,ifname=t0,",
            "user,id=net2,net=10.0.4.0/24,ipv6-prefix=fec0:0:0:2::",
            ",netdev=net1,",
            ",netdev=net2,",
        ] {
            assert!(both.contains(part), "{part}: {both}");
        }
    }

    #[test]
    fn channels_are_ports_of_one_device() {
        let both = [("EBB_CHANNEL", "log=unix:/tmp/a,b;work=unix:c")];
        let line = line(&both, &qemu(), Accel::Tcg);
        for part in [
            "virtio-serial-pci,disable-legacy=on,max_ports=3",
            "socket,id=channel0,path=/tmp/a,,b,server=on,wait=off",
            "virtserialport,chardev=channel0,name=log,nr=1",
            "virtserialport,chardev=channel1,name=work,nr=2",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }

    #[test]
    fn there_is_an_entropy_device_unless_it_is_turned_off() {
        let device = "-device virtio-rng-pci,disable-legacy=on";
        assert!(line(&[], &qemu(), Accel::Tcg).contains(device));
        assert!(!line(&[("EBB_RNG", "0")], &qemu(), Accel::Tcg).contains("rng"));
    }

    #[test]
    fn the_processor_draws_no_random_numbers_where_an_image_says_so() {
        assert!(line(&[], &qemu(), Accel::Tcg).contains("-cpu max -"));
        for (accel, model) in [(Accel::Tcg, "max"), (Accel::Kvm, "host")] {
            let line = line(&[("EBB_RDRAND", "0")], &qemu(), accel);
            let wanted = format!("-cpu {model},rdrand=off,rdseed=off -");
            assert!(line.contains(&wanted), "{line}");
        }
    }

    #[test]
    fn every_disk_is_a_virtio_disk_whose_errors_the_image_is_told() {
        let disks = line(
            &[(
                "EBB_DISK",
                "/d/a.img;b.qcow2,format=qcow2,cache=none,readonly",
            )],
            &qemu(),
            Accel::Tcg,
        );
        for part in [
            "if=none,id=disk0,format=raw,cache=writeback,file=/d/a.img",
            "if=none,id=disk1,format=qcow2,cache=none,readonly=on,file=b.qcow2",
            "virtio-blk-pci,disable-legacy=on,drive=disk1,num-queues=1,werror=report,rerror=report",
        ] {
            assert!(disks.contains(part), "{part} in {disks}");
        }
        assert!(!line(&[], &qemu(), Accel::Tcg).contains("virtio-blk"));
    }

    #[test]
    fn a_socket_device_is_the_kernels_or_that_of_a_program_that_shares_the_memory() {
        let kernel = line(&[("EBB_VSOCK", "7")], &qemu(), Accel::Kvm);
        assert!(kernel.contains("-device vhost-vsock-pci,guest-cid=7"));
        assert!(!kernel.contains("memory-backend"), "{kernel}");
        for (board, device) in [
            ("q35", "vhost-user-vsock-pci,chardev=vsock"),
            ("microvm", "vhost-user-vsock-device,chardev=vsock"),
        ] {
            let pairs = [
                ("EBB_VSOCK", "unix:/t/v"),
                ("EBB_MACHINE", board),
                ("EBB_MEMORY", "1G"),
            ];
            let program = line(&pairs, &qemu(), Accel::Tcg);
            for part in [
                device,
                "-chardev socket,id=vsock,fd=9",
                ",memory-backend=memory",
                "-object memory-backend-memfd,id=memory,size=",
            ] {
                assert!(program.contains(part), "{part} in {program}");
            }
        }
    }

    #[test]
    fn a_microvms_devices_are_on_no_bus() {
        let pairs = [
            ("EBB_MACHINE", "microvm"),
            ("EBB_DISK", "/d/a.img"),
            ("EBB_FORWARD", "8080:80"),
        ];
        let all = line(&pairs, &qemu(), Accel::Tcg);
        for part in [
            "-machine microvm,acpi=off,",
            "-global virtio-mmio.force-legacy=false",
            "-device virtio-net-device,netdev=net ",
            "-device virtio-blk-device,drive=disk0,num-queues=1,",
            "-device virtio-rng-device",
        ] {
            assert!(all.contains(part), "{part} in {all}");
        }
        assert!(!all.contains("-bios") && !all.contains("-pci"), "{all}");
        let pc = line(&[("EBB_MACHINE", "pc")], &qemu(), Accel::Tcg);
        assert!(
            pc.contains("-machine pc,") && pc.contains("virtio-net-pci,"),
            "{pc}"
        );
    }

    #[test]
    fn gdb_is_awaited_before_the_first_instruction() {
        assert!(
            line(&[("EBB_GDB", "4321")], &qemu(), Accel::Tcg)
                .contains("-gdb tcp:127.0.0.1:4321 -S")
        );
    }
}
