//! Starting a program in a UC of its own.

use crate::abi::errno::Errno;
use crate::abi::flags::{AT_FDCWD, AtFlags, OpenFlags};
use crate::abi::limit::{self, MAX_SIGNALS};
use crate::abi::signal::Actions;
use crate::image::program::{Program, ProgramFile};
use crate::image::{archive, exec};
use crate::object::Objects;
use crate::object::files::MAX_NOFILE;
use crate::object::vfs::Opened;
use crate::run;
use crate::state::futex::Futexes;
use crate::state::policy::Policies;
use crate::state::process::Oom;
use crate::state::process::{Memory, Process, Processes, Ran, Scheduling, State};
use crate::state::thread::Thread;
use crate::state::timer::Timers;
use crate::typing::pass_input;
use crate::uc::env::Boot;
use crate::uc::{Options, Parts, Stdio, Uc};
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use ebb_guest::{Context, GuestCpu};
use ebb_mem::space::Space;
use ebb_runtime::platform::Console;
use ebb_runtime::{EbbRef, spawn};

impl Uc {
    /// Starts a program; its threads run as tasks of this core.
    ///
    /// # Errors
    /// What starting it gives: `ENOENT`, `ENOEXEC`, `ENOMEM`, ...
    pub fn start(options: Options, program: Program) -> Result<Rc<Self>, Errno> {
        let path = program.found();
        let Program {
            arguments,
            environment,
            directory,
            files,
            ..
        } = program;
        if EbbRef::<dyn GuestCpu>::get().kernel_root() == 0 {
            // No user mode here: the program is hosted.
            return Err(Errno::ENOSYS);
        }
        let mut objects = Objects::new(&Boot, archive::root(), options.limits)?;
        let console = objects.open_console(&Boot, options.terminal)?;
        if options.stdio == Stdio::Machine {
            // Nobody types: input is at its end.
            objects.channel_end_input(console.input);
        }
        for file in &files {
            write_file(&mut objects, file)?;
        }
        let file = objects.executable(&Boot, &path)?;
        if !directory.is_empty() {
            objects.chdir(&Boot, &directory)?;
        }
        let mut image = exec::load(
            &objects,
            &Boot,
            exec::Request {
                identity: exec::Identity::default(),
                file,
                known_as: path,
                arguments,
                environment,
                stack: exec::STACK,
                layout: options.layout,
            },
            options.memory,
        )?;
        if options.close_mappings {
            image.space.keep_close();
        }
        let mut context = Context::new();
        context.rip = image.started.entry;
        context.rsp = image.started.stack;
        let (space, state) = first_state(image, &options);
        let files = objects.running_files().ok_or(Errno::EIO)?;
        let mut processes = Processes {
            last: 1,
            ..Processes::default()
        };
        let memory = Memory::new(space, processes.new_serial(), false);
        let serial = processes.new_serial();
        processes
            .live
            .push(Process::new(serial, memory, files, state));
        let uc = Self::assemble(Parts {
            options,
            processes,
            objects,
            futexes: Futexes::default(),
            ipc: None,
            console,
            origin: None,
            behind: 0,
            ran: 0,
            run_thread: run::spawn_thread,
        })
        .ok_or(Errno::EIO)?;
        let init = Rc::clone(&uc.init);
        uc.add_thread(&init, Thread::new(1, context));
        if uc.options.stdio == Stdio::Console {
            if uc.options.terminal {
                // It has a line discipline of its own.
                EbbRef::<dyn Console>::get().pass_keys(true);
                EbbRef::<dyn Console>::get().pass_sizes();
            }
            drop(spawn(pass_input(uc.weak())));
        }
        Ok(uc)
    }
}

/// The resource limits that a first program begins with: Linux' own, and what the options say.
fn first_limits(options: &Options) -> [(u64, u64); 16] {
    let mut limits = [(u64::MAX, u64::MAX); 16];
    limits[limit::STACK] = (exec::STACK, u64::MAX);
    limits[limit::CORE] = (0, u64::MAX);
    // Since 5.16.
    limits[limit::MEMLOCK] = (8 << 20, 8 << 20);
    limits[limit::MSGQUEUE] = (819_200, 819_200);
    limits[limit::SIGPENDING] = (MAX_SIGNALS, MAX_SIGNALS);
    limits[limit::NICE] = (0, 0);
    limits[limit::RTPRIO] = (0, 0);
    limits[limit::NPROC] = (options.threads as u64, options.threads as u64);
    limits[limit::NOFILE] = (options.limits.nofile.into(), MAX_NOFILE.into());
    limits
}

/// The memory and the state of the first process.
fn first_state(image: exec::Loaded, options: &Options) -> (Space, State) {
    let state = State {
        brk: image.started.heap,
        started: image.started,
        path: image.path,
        program: Some(image.program),
        names: image.names,
        actions: Actions::default(),
        pending: 0,
        queued: Vec::new(),
        limits: first_limits(options),
        begun: crate::now(),
        pid: 1,
        parent: 0,
        orphan: false,
        credentials: Arc::default(),
        scheduling: Scheduling::default(),
        death_signal: 0,
        adopts_orphans: false,
        machine_check_policy: 2,
        drew: false,
        code_is_fixed: 0,
        huge_pages_disabled: false,
        barriers: 0,
        dumpable: 1,
        timer_slack_ns: 50_000,
        oom: Oom::default(),
        personality: 0,
        core_filter: 0x33,
        group: 1,
        session: 1,
        exit_signal: 0,
        executed: true,
        timers: Timers::default(),
        ran: Ran::default(),
        policies: Policies::default(),
        cpu_warned: 0,
    };
    (image.space, state)
}

/// Writes a file, and makes the directories on its way.
fn write_file(objects: &mut Objects, file: &ProgramFile) -> Result<(), Errno> {
    for (at, _) in file
        .path
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(_, byte)| **byte == b'/')
    {
        match objects.mkdir(&Boot, AT_FDCWD, &file.path[..at], 0o755) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    let flags = OpenFlags::WRONLY | OpenFlags::CREAT | OpenFlags::TRUNC;
    let opened = objects.open(&Boot, AT_FDCWD, &file.path, flags.bits(), file.mode)?;
    let Opened::Fd(fd) = opened else {
        return Err(Errno::EINVAL);
    };
    let mut rest = &file.bytes[..];
    while !rest.is_empty() {
        if objects.write(&Boot, fd, &mut rest)? == 0 {
            return Err(Errno::ENOSPC);
        }
    }
    objects.close(fd)?;
    // Whatever the mask of the process says.
    objects.chmod(&Boot, AT_FDCWD, &file.path, file.mode, AtFlags::empty())
}
