//! What `cargo ebb` may be told.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};

/// Library operating systems out of Elastic Building Blocks: programs that boot as virtual machines of their own.
#[derive(Parser)]
#[command(name = "cargo ebb", bin_name = "cargo ebb", version)]
pub struct Parsed {
    #[command(subcommand)]
    pub command: Command,
}

impl Parsed {
    /// Of a command line; ends the program with a message when it makes no sense, and after `--help`.
    pub fn of(words: Vec<OsString>) -> Self {
        Self::parse_from(words)
    }
}

#[derive(Subcommand)]
pub enum Command {
    /// Makes a project that builds, runs and tests at once
    New(New),
    /// Builds the program and runs it: as an image under QEMU, or as a Linux process
    Run(Run),
    /// Runs the project's tests: as a Linux process, then in an image
    Test(Test),
    /// Makes files that boot elsewhere: disks, CDs, container images
    Image(Image),
    /// Opens an image, or the core file of one, in gdb
    Debug(Debug),
    /// Says everything that is wrong with the project, and mends what it can
    Doctor(Doctor),
    /// Boots an image, executes anything else: what `runner` in .cargo/config.toml names (`cargo ebb runner --help`)
    Runner,
}

#[derive(Args)]
pub struct New {
    /// Where to make it; its last part is the project's name
    pub path: PathBuf,
    /// What to begin with
    #[arg(long, value_enum, default_value_t = Template::Service)]
    pub template: Template,
    /// Where ebb's crates come from: a version, a folder with a checkout of ebb, or the URL of a Git repository
    #[arg(long, value_name = "SOURCE")]
    pub ebb: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Template {
    /// A web service on every core
    Service,
    /// A server with a line protocol of its own
    Tcp,
    /// An unmodified Linux program in an image
    Linux,
    /// Calls between machines
    Distributed,
}

/// What is built, in Cargo's own words.
#[derive(Args)]
pub struct Build {
    /// With optimisation
    #[arg(short, long)]
    pub release: bool,
    /// The package of the workspace
    #[arg(short, long, value_name = "NAME")]
    pub package: Option<String>,
    /// The program, where the package has several
    #[arg(long, value_name = "NAME", conflicts_with = "example")]
    pub bin: Option<String>,
    /// An example instead of the program
    #[arg(long, value_name = "NAME")]
    pub example: Option<String>,
    /// Features to turn on
    #[arg(short = 'F', long, value_name = "FEATURES")]
    pub features: Option<String>,
    /// The project's manifest
    #[arg(long, value_name = "PATH")]
    pub manifest_path: Option<PathBuf>,
}

#[derive(Args)]
pub struct Run {
    /// As a Linux process
    #[arg(long)]
    pub hosted: bool,
    /// Cores, 1 to 64 (EBB_CORES)
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=64))]
    pub cores: Option<u32>,
    /// The machine's memory: 512M, 2G (EBB_MEMORY)
    #[arg(long, value_name = "SIZE", conflicts_with = "hosted")]
    pub memory: Option<String>,
    /// Ports of this machine that are the image's: 8080:80 (EBB_FORWARD)
    #[arg(long, value_name = "HOST:GUEST", conflicts_with = "hosted")]
    pub forward: Option<String>,
    /// The image's disk: FILE,size=1G (EBB_DISK)
    #[arg(long, value_name = "FILE")]
    pub disk: Option<String>,
    #[command(flatten)]
    pub build: Build,
    /// The program's own arguments
    #[arg(last = true, value_name = "ARGUMENT")]
    pub arguments: Vec<OsString>,
}

#[derive(Args)]
pub struct Test {
    /// Only as a Linux process
    #[arg(long, conflicts_with = "image")]
    pub hosted: bool,
    /// Only in images
    #[arg(long)]
    pub image: bool,
    /// How many cores an image has; given several times, it is booted with each
    #[arg(long, value_name = "N", default_values_t = [1, 2], value_parser = value_parser!(u32).range(1..=64))]
    pub cores: Vec<u32>,
    #[command(flatten)]
    pub build: Build,
    /// For the tests: a part of their names, and options of libtest
    #[arg(last = true, value_name = "ARGUMENT")]
    pub arguments: Vec<OsString>,
}

#[derive(Args)]
pub struct Image {
    /// What to make; several with commas, or given several times
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Format::Raw])]
    pub format: Vec<Format>,
    /// The folder to write to [default: image/ in the target folder]
    #[arg(short, long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
    /// An option of the image, NAME=VALUE; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub option: Vec<String>,
    /// Without optimisation
    #[arg(long, conflicts_with = "release")]
    pub dev: bool,
    #[command(flatten)]
    pub build: Build,
    /// The program's own arguments, at every boot
    #[arg(last = true, value_name = "ARGUMENT")]
    pub arguments: Vec<OsString>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A disk that boots by BIOS and by UEFI
    Raw,
    /// A CD that does
    Iso,
    /// The disk in QEMU's format
    Qcow2,
    /// A container image, as a folder in the OCI's image layout, with what urunc reads; for one that knows the kind `ebb`
    Oci,
    /// What a virtual machine monitor boots directly, by PVH, as QEMU does; Firecracker and Cloud Hypervisor are not tested
    Kernel,
}

#[derive(Args)]
pub struct Debug {
    /// An image that there is already, instead of the project's
    pub image: Option<PathBuf>,
    /// The core file of a machine that stopped (EBB_CORE)
    #[arg(long, value_name = "FILE")]
    pub core: Option<PathBuf>,
    /// Cores, 1 to 64 (EBB_CORES)
    #[arg(long, value_name = "N", conflicts_with = "core", value_parser = value_parser!(u32).range(1..=64))]
    pub cores: Option<u32>,
    /// A command for gdb; may be given several times
    #[arg(long, value_name = "COMMAND")]
    pub ex: Vec<String>,
    /// Ends after those commands
    #[arg(long)]
    pub batch: bool,
    #[command(flatten)]
    pub build: Build,
    /// The program's own arguments
    #[arg(last = true, value_name = "ARGUMENT")]
    pub arguments: Vec<OsString>,
}

#[derive(Args)]
pub struct Doctor {
    /// Mends what can be mended without you
    #[arg(long)]
    pub fix: bool,
    /// Looks at files only: builds nothing
    #[arg(long)]
    pub no_build: bool,
    /// The project's manifest
    #[arg(long, value_name = "PATH")]
    pub manifest_path: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_free_of_contradictions() {
        super::Parsed::command().debug_assert();
    }
}
