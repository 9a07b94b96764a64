//! Programs of a few system calls each that print what they are told: the image says what Linux says.
//!
//! `guests/linux/NAME.right` is what NAME.c printed on Linux; `EBB_BLESS=1` runs it on the host's and writes that.

use std::{
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use test_support::{GUESTS, RUNNER, cargo, needs};

/// Builds a program, static.
fn build(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("linux-{name}"));
    let status = Command::new("cc")
        .args(["-O1", "-static", "-pthread", "-w", "-o"])
        .arg(&program)
        .arg(format!("{GUESTS}/linux/{name}.c"))
        .status()
        .expect("cc, which Rust needs as its linker, starts");
    assert!(status.success(), "{name}.c does not compile");
    program
}

fn in_the_image(name: &str, program: &Path, arguments: &[&str]) -> Output {
    in_an_image_with(&[], name, program, arguments)
}

/// With further settings of the runner.
fn in_an_image_with(
    settings: &[(&str, &str)],
    name: &str,
    program: &Path,
    arguments: &[&str],
) -> Output {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (manifest, archive) = (
        out.join(format!("linux-{name}.manifest")),
        out.join(format!("linux-{name}.ebb")),
    );
    let line = format!("file /bin/{name} {}\ndirectory /tmp\n", program.display());
    std::fs::write(&manifest, line).expect("the manifest is written");
    let packed = Command::new(RUNNER)
        .args(["pack".as_ref(), manifest.as_os_str(), "-o".as_ref()])
        .arg(&archive)
        .status()
        .expect("the runner starts");
    assert!(packed.success(), "{name} cannot be packed");
    Command::new(RUNNER)
        .arg(cargo::program("image-guests"))
        .arg(format!("/bin/{name}"))
        .args(arguments)
        .env("EBB_ARCHIVE", &archive)
        .env("EBB_CORES", "1")
        .env("EBB_MEMORY", "512M")
        .env("EBB_TIMEOUT", "120")
        .env("EBB_QUIET", "1")
        .envs(settings.iter().copied())
        .output()
        .expect("the runner starts")
}

/// What the program has printed.
fn lines(output: &Output) -> Vec<String> {
    let said = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    said.lines()
        .take_while(|l| !l.starts_with("uc0 ended"))
        .filter(|l| !l.starts_with("ebb: "))
        .map(str::to_owned)
        .collect()
}

/// The image says what Linux says.
#[track_caller]
fn says_what_linux_says(name: &str) {
    let program = build(name);
    let right = Path::new(GUESTS).join(format!("linux/{name}.right"));
    if std::env::var_os("EBB_BLESS").is_some() {
        let host = Command::new(&program).output().expect("it starts here");
        std::fs::write(&right, host.stdout).expect("it is written");
    }
    let right = std::fs::read_to_string(&right).expect("what is right is known");
    let output = in_the_image(name, &program, &[]);
    let said = lines(&output);
    // Of long outputs only what differs.
    let right: Vec<&str> = right.lines().collect();
    let lines = right.iter().zip(&said);
    let differing: Vec<_> = lines.filter(|(right, said)| right != said).collect();
    assert!(
        differing.is_empty() && said.len() == right.len(),
        "{name} says {} lines of {}; (Linux, the image): {differing:#?}\n{}",
        said.len(),
        right.len(),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn system_v_semaphores_queues_and_segments_are_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("sysv");
}

#[test]
fn a_process_can_open_as_many_descriptors_as_it_is_told_and_then_hears_emfile() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("open_files");
}

#[test]
fn sockets_within_a_machine_say_what_linux_says() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("inet");
}

#[test]
fn addresses_of_each_family_and_length_are_taken_and_refused_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("addresses");
}

#[test]
fn whoever_waits_at_a_listener_that_ends_hears_what_linux_says() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("listeners");
}

#[test]
fn peers_senders_and_descriptors_in_messages_are_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("peers");
}

#[test]
fn what_is_not_there_is_refused_and_what_is_set_reads_back_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("refusals");
}

#[test]
fn each_call_on_files_says_what_linux_says_of_each_kind_of_descriptor_and_of_edges() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("edges_files");
}

#[test]
fn clocks_processes_and_schedules_say_what_linux_says_at_their_edges() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("edges_time");
}

#[test]
fn memory_sockets_and_other_objects_say_what_linux_says_at_their_edges() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("edges_objects");
}

#[test]
fn sockets_in_each_state_say_of_each_address_and_call_what_linux_says() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("edges_sockets");
}

#[test]
fn queues_are_files_and_copies_between_each_two_kinds_say_what_linux_says() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("edges_copies");
}

#[test]
fn each_kind_of_descriptor_refuses_what_others_are_for_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("edges_kinds");
}

#[test]
fn options_limits_clocks_memory_and_clones_refuse_wrong_arguments_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("edges_arguments");
}

#[test]
fn signals_and_paths_of_each_kind_are_taken_and_refused_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("edges_paths");
}

#[test]
fn what_has_ended_or_never_began_says_what_linux_says() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("edges_gone");
}

#[test]
fn each_option_of_each_level_and_length_says_what_linux_says() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("edges_options");
}

#[test]
fn calls_with_each_combination_of_arguments_say_what_linux_says() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("edges_calls");
}

#[test]
fn commands_requests_and_vectors_say_of_each_kind_of_descriptor_what_linux_says() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("edges_descriptors");
}

#[test]
fn each_two_flags_and_each_way_to_resolve_a_path_say_what_linux_says() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("edges_openat2");
}

#[test]
fn each_way_to_copy_between_each_two_kinds_says_what_linux_says() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("edges_transfers");
}

#[test]
fn control_messages_and_flags_of_messages_are_taken_and_refused_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("edges_control");
}

#[test]
fn objects_that_calls_make_say_of_each_argument_what_linux_says() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("edges_more");
}

#[test]
fn of_what_is_partly_nowhere_as_much_is_taken_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("edges_partly");
}

#[test]
fn pipes_sockets_and_what_else_has_no_place_are_owned_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("edges_owners");
}

#[test]
fn who_has_no_rights_is_refused_as_on_linux_and_told_first_what_else_is_wrong() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("edges_rights");
}

#[test]
fn memory_policies_are_checked_kept_and_told_as_on_linux_with_one_node() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("numa");
}

#[test]
fn memory_is_mapped_protected_shared_moved_advised_and_locked_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("memory");
}

#[test]
fn pseudo_terminals_say_what_linux_says() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("pty");
}

#[test]
fn extended_attributes_of_files_are_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("attributes");
}

#[test]
fn posix_message_queues_are_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("mqueue");
}

#[test]
fn every_option_of_a_socket_is_refused_or_reads_back_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("options");
}

#[test]
fn each_flag_of_a_call_alone_is_refused_or_obeyed_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("flags");
}

#[test]
fn signals_queue_and_timers_count_what_nobody_has_taken_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("signals");
}

#[test]
fn files_of_proc_are_there_and_tell_of_memory_threads_and_name_spaces_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("proc");
}

#[test]
fn marked_bytes_of_unix_sockets_and_looks_that_go_on_are_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("urgent");
}

#[test]
fn what_processes_have_in_common_and_take_of_one_another_is_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("between");
}

#[test]
fn buffers_beyond_what_programs_have_are_refused_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("ranges");
}

/// Answers over TCP and UDP what it gets, on one port of the host's loopback interface.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("it is bound");
    let datagrams = UdpSocket::bind(at).expect("a free port");
    std::thread::spawn(move || {
        let mut buffer = [0; 2000];
        while let Ok((n, from)) = datagrams.recv_from(&mut buffer) {
            let _ = datagrams.send_to(&buffer[..n], from);
        }
    });
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = std::io::copy(&mut &stream, &mut &stream);
        }
    });
    at.port()
}

#[test]
fn the_network_is_there_for_the_first_call_that_needs_it() {
    needs!("qemu-system-x86_64");
    let (port, program) = (echo().to_string(), build("outside"));
    for (what, right) in [
        (
            "tcp",
            &["connect 0 ", "5 wait, 3 seen, 5 taken", "end 0"][..],
        ),
        (
            "info",
            &[
                "before: state 7",
                "state 1, full segments of 1, a round trip 1, varies 1, waits 1, cwnd 1, unacked 0, again 0 0",
                "sent and acknowledged 1, received 20000, unsent 0",
                "silent for as long as it slept: 1",
                "at its end it is no longer established: 1",
                "a byte of it: 1, not 99: 1",
            ],
        ),
        ("nonblocking", &["connect -1 EINPROGRESS, then 0x4"]),
        ("udp", &["send 5 ", "5 wait, 5 seen, 5 taken, 0 wait"]),
        (
            "interfaces",
            &[
                "10.0.2.15, eth0 is 2, ioctl says the same: 1",
                "bind 0 ",
                "default routes 1, in /proc 1",
            ],
        ),
        (
            "families",
            &[
                "0 0, 0 0, both EADDRINUSE",
                "0 0, 0 0, both EADDRINUSE",
                "room for interfaces: 0, 1 of two",
            ],
        ),
        (
            "own",
            &[
                "datagram from 10.0.2.15",
                "connection from 10.0.2.15",
                "nobody there: ECONNREFUSED",
            ],
        ),
        ("group", &["enter 0 , send 3 , back 3, without loop EAGAIN"]),
    ] {
        let output = in_the_image("outside", &program, &[what, &port]);
        assert_eq!(lines(&output), right, "{what}");
    }
}

#[test]
fn a_program_sees_each_card_with_its_address_and_its_routes() {
    needs!("qemu-system-x86_64");
    let (port, program) = (echo().to_string(), build("outside"));
    let says = |options: &str| {
        let settings = [("EBB_NET", "user;user"), ("EBB_OPTIONS", options)];
        lines(&in_an_image_with(
            &settings,
            "outside",
            &program,
            &["cards", &port],
        ))
    };
    let common = [
        "getifaddrs: eth0 10.0.2.15 eth1 10.0.3.15",
        "SIOCGIFCONF: lo 127.0.0.1 eth0 10.0.2.15 eth1 10.0.3.15",
        "/proc/net/dev: lo eth0 eth1",
        "to 10.0.2.2 from 10.0.2.15: 5",
        "to 10.0.3.2 from 10.0.3.15: 5",
        "kept to eth1, to 10.0.2.2 from 10.0.3.15",
        "bound to 10.0.3.15: own 0, other ECONNREFUSED",
    ];
    let with = |metrics: [u32; 2]| {
        let mut all: Vec<String> = common.map(String::from).to_vec();
        let [a, b] = metrics;
        all.insert(3, format!("/proc/net/route: eth0 10.0.2.2 {a}, eth1 10.0.3.2 {b}, eth0 10.0.2.0, eth1 10.0.3.0"));
        all.insert(4, format!("netlink: 2 10.0.2.2 {a}, 3 10.0.3.2 {b}"));
        all
    };
    assert_eq!(says(""), with([0, 100]));
    assert_eq!(says("router=1"), with([100, 0]));
    assert_eq!(says("ip=dhcp;10.0.3.15/24,10.0.3.2"), with([0, 100]));
}

/// Accepts connections on the host's loopback interface and reads nothing of each for six seconds.
fn slow_reader() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_secs(6));
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            });
        }
    });
    at.port()
}

#[test]
fn close_waits_until_the_peer_has_all_as_long_as_so_linger_says() {
    needs!("qemu-system-x86_64");
    let (port, program) = (slow_reader().to_string(), build("outside"));
    let right = [
        "linger 0 for 0 s: close 0 after nothing",
        "linger 1 for 1 s: close 0 after its time",
        "linger 1 for 20 s: close 0 after the peer has all",
    ];
    let host = Command::new(&program)
        .args(["linger", &port, "127.0.0.1"])
        .output();
    assert_eq!(lines(&host.expect("it starts here")), right);
    assert_eq!(
        lines(&in_the_image("outside", &program, &["linger", &port])),
        right
    );
}

#[test]
fn users_groups_modes_and_priorities_are_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("credentials");
}

#[test]
fn a_handler_ends_or_repeats_a_call_that_waits_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("interrupted");
}

/// `EBB_WAITING="SEED COUNT"` chooses other programs, and more.
#[test]
fn random_programs_of_waiting_calls_lose_and_double_nothing_here_and_there() {
    needs!("qemu-system-x86_64");
    let program = build("waiting");
    let chosen = std::env::var("EBB_WAITING").unwrap_or_else(|_| String::from("1 60"));
    let chosen: Vec<&str> = chosen.split_whitespace().collect();
    let host = Command::new(&program).args(&chosen).output();
    let host = lines(&host.expect("it starts here"));
    let last = host.last().expect("it says how many were wrong");
    assert!(last.ends_with(" programs, 0 wrong"), "{host:#?}");
    assert_eq!(lines(&in_the_image("waiting", &program, &chosen)), host);
}

/// `EBB_MAPPINGS="SEED COUNT"` chooses other programs, and more.
#[test]
fn random_changes_of_an_address_space_and_of_files_below_it_show_what_they_show_on_linux() {
    needs!("qemu-system-x86_64");
    let program = build("mappings");
    let chosen = std::env::var("EBB_MAPPINGS").unwrap_or_else(|_| String::from("1 60"));
    let chosen: Vec<&str> = chosen.split_whitespace().collect();
    let host = Command::new(&program).args(&chosen).output();
    let host = lines(&host.expect("it starts here"));
    assert!(!host.is_empty());
    assert_eq!(lines(&in_the_image("mappings", &program, &chosen)), host);
}

#[test]
fn locks_of_files_are_as_on_linux_and_proc_locks_tells_of_them() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("locks");
}

#[test]
fn locks_with_owners_and_waits_for_any_of_several_futexes_are_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("futexes");
}

#[test]
fn children_their_news_and_groups_that_nobody_looks_after_are_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("children");
}

#[test]
fn what_a_good_guess_gets_wrong_is_answered_as_on_linux() {
    needs!("qemu-system-x86_64");
    says_what_linux_says("answers");
}
