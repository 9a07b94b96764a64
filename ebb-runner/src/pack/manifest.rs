//! The manifest: what a boot archive holds, in a few lines of text.
//!
//! One directive a line, words split as a shell would; `#` begins a comment. An image carries its
//! manifest in the ELF note of name `ebb` and type 2.

/// A parsed manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The program.
    pub program: Option<Program>,
    /// Its arguments, before those of the command line.
    pub arguments: Vec<String>,
    /// `NAME=VALUE` each.
    pub environment: Vec<String>,
    /// The working directory; the host's when `None`.
    pub directory: Option<String>,
    /// Libraries that a program loads by itself, by their names.
    pub libraries: Vec<String>,
    /// Files, directories and links.
    pub items: Vec<Item>,
    /// Whether host files that the application's arguments name come along.
    pub files_of_arguments: bool,
}

/// The program to pack with all it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A path, or a name to be found in PATH.
    Named(String),
    /// The application's first argument.
    FirstArgument,
}

/// Something in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A file from the host, or a directory with everything in it.
    Host {
        /// Where it goes; the source's own absolute path when `None`.
        to: Option<String>,
        /// Where it comes from.
        from: String,
    },
    /// A file of this text.
    Text {
        /// Where it goes.
        to: String,
        /// Its content; a newline is added.
        text: String,
    },
    /// A directory with these permissions.
    Directory {
        /// Where it goes.
        to: String,
        /// Permission bits.
        mode: u32,
    },
    /// npm packages with all that they depend on; left out where they cannot be had.
    Packages {
        /// The directory that becomes `node_modules`.
        to: String,
        /// `NAME@VERSION` each.
        names: Vec<String>,
    },
    /// Python with its standard library and these packages, as far as they are there; left out where Python is not.
    Python {
        /// Names of folders and files among the installed packages.
        packages: Vec<String>,
    },
    /// The manifest of runtimes that the application's argument after this one names, and the programs and files of its kinds.
    Runtimes {
        /// Where it goes.
        to: String,
        /// The argument, such as `--runtimes`.
        option: String,
    },
    /// What the application's argument after this one names.
    OfArgument {
        /// Where it goes.
        to: String,
        /// The argument, such as `--data`.
        option: String,
    },
    /// The host's files of time zones; left out where it has none.
    TimeZones,
    /// A symbolic link.
    Symlink {
        /// Where it goes.
        to: String,
        /// What it says.
        target: String,
    },
}

impl Manifest {
    /// Parses a manifest.
    ///
    /// # Errors
    /// With the line and what is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut manifest = Self::default();
        for (number, line) in text.lines().enumerate() {
            let words = shlex::split(line).ok_or_else(|| "a quote is not closed".to_string());
            words
                .and_then(|words| manifest.directive(&words))
                .map_err(|error| {
                    format!("manifest, line {}: `{}`: {error}", number + 1, line.trim())
                })?;
        }
        Ok(manifest)
    }

    fn directive(&mut self, words: &[String]) -> Result<(), String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let absolute = |path: &str| {
            if path.starts_with('/') {
                Ok(path.to_string())
            } else {
                Err(format!("`{path}` must be an absolute path"))
            }
        };
        match words[..] {
            [] => {}
            ["program", _] if self.program.is_some() => {
                return Err("there is a program already".into());
            }
            ["program", "$1"] => self.program = Some(Program::FirstArgument),
            ["program", name] if !name.is_empty() => {
                self.program = Some(Program::Named(name.into()))
            }
            ["args", ref args @ ..] => self.arguments.extend(args.iter().map(ToString::to_string)),
            ["env", ref strings @ ..] => {
                if let Some(bad) = strings
                    .iter()
                    .find(|s| s.find('=').is_none_or(|at| at == 0))
                {
                    return Err(format!("`{bad}` is not NAME=VALUE"));
                }
                self.environment
                    .extend(strings.iter().map(ToString::to_string));
            }
            ["workdir", path] => self.directory = Some(absolute(path)?),
            ["library", ref names @ ..] if !names.is_empty() => {
                self.libraries.extend(names.iter().map(ToString::to_string))
            }
            ["files-of-arguments"] => self.files_of_arguments = true,
            ["file" | "tree", from] => self.items.push(Item::Host {
                to: None,
                from: from.into(),
            }),
            ["file" | "tree", to, from] => self.items.push(Item::Host {
                to: Some(absolute(to)?),
                from: from.into(),
            }),
            ["text", to, ref text @ ..] => self.items.push(Item::Text {
                to: absolute(to)?,
                text: text.join(" "),
            }),
            ["directory", to] => self.items.push(Item::Directory {
                to: absolute(to)?,
                mode: 0o755,
            }),
            ["directory", to, mode] => {
                let mode = u32::from_str_radix(mode, 8).ok().filter(|m| *m <= 0o7777);
                let mode = mode.ok_or("the mode is an octal number up to 7777")?;
                self.items.push(Item::Directory {
                    to: absolute(to)?,
                    mode,
                });
            }
            ["npm", to, ref names @ ..] if !names.is_empty() => self.items.push(Item::Packages {
                to: absolute(to)?,
                names: names.iter().map(ToString::to_string).collect(),
            }),
            ["python", ref packages @ ..] => self.items.push(Item::Python {
                packages: packages.iter().map(ToString::to_string).collect(),
            }),
            ["time-zones"] => self.items.push(Item::TimeZones),
            ["runtimes", to, option] => self.items.push(Item::Runtimes {
                to: absolute(to)?,
                option: option.into(),
            }),
            ["argument", to, option] => self.items.push(Item::OfArgument {
                to: absolute(to)?,
                option: option.into(),
            }),
            ["symlink", to, target] => self.items.push(Item::Symlink {
                to: absolute(to)?,
                target: target.into(),
            }),
            _ => {
                return Err("accepted: program NAME | args WORD.. | env NAME=VALUE.. | workdir PATH | library NAME.. | \
                     file [TO] FROM | tree [TO] FROM | text TO WORD.. | directory TO [MODE] | symlink TO TARGET | \
                     npm TO NAME@VERSION.. | python PACKAGE[==VERSION].. | time-zones | runtimes TO OPTION | argument TO OPTION | files-of-arguments"
                    .into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directive_is_read() {
        let manifest = Manifest::parse(
            "# a comment\n\nprogram node # another\nargs --expose-gc 'a b'\nargs c\nenv A=b 'C=d e='\nworkdir /w\n\
             library libnss_x.so.2\nfile /a/b ./b\nfile /host/path\ntree /t 'my dir'\ntext /etc/x two words\n\
             directory /tmp 1777\ndirectory /d\nsymlink /l ../t\nnpm /node_modules a@1 b\npython c d\n\
             time-zones\nruntimes /r --runtimes\nargument /data --data\n\
             files-of-arguments\n",
        )
        .unwrap();
        assert_eq!(manifest.program, Some(Program::Named("node".into())));
        assert_eq!(manifest.arguments, ["--expose-gc", "a b", "c"]);
        assert_eq!(manifest.environment, ["A=b", "C=d e="]);
        assert_eq!(
            (manifest.directory.as_deref(), manifest.files_of_arguments),
            (Some("/w"), true)
        );
        assert_eq!(manifest.libraries, ["libnss_x.so.2"]);
        assert_eq!(
            manifest.items,
            [
                Item::Host {
                    to: Some("/a/b".into()),
                    from: "./b".into()
                },
                Item::Host {
                    to: None,
                    from: "/host/path".into()
                },
                Item::Host {
                    to: Some("/t".into()),
                    from: "my dir".into()
                },
                Item::Text {
                    to: "/etc/x".into(),
                    text: "two words".into()
                },
                Item::Directory {
                    to: "/tmp".into(),
                    mode: 0o1777
                },
                Item::Directory {
                    to: "/d".into(),
                    mode: 0o755
                },
                Item::Symlink {
                    to: "/l".into(),
                    target: "../t".into()
                },
                Item::Packages {
                    to: "/node_modules".into(),
                    names: vec!["a@1".into(), "b".into()]
                },
                Item::Python {
                    packages: vec!["c".into(), "d".into()],
                },
                Item::TimeZones,
                Item::Runtimes {
                    to: "/r".into(),
                    option: "--runtimes".into(),
                },
                Item::OfArgument {
                    to: "/data".into(),
                    option: "--data".into()
                }
            ]
        );
        assert_eq!(
            Manifest::parse("program $1").unwrap().program,
            Some(Program::FirstArgument)
        );
        assert_eq!(Manifest::parse(""), Ok(Manifest::default()));
    }

    #[test]
    fn a_malformed_line_is_told_with_its_number() {
        for (text, word) in [
            (
                "\nprogramm node",
                "line 2: `programm node`: accepted: program",
            ),
            ("program", "accepted"),
            ("program a b", "accepted"),
            ("program a\nprogram b", "line 2"),
            ("env A", "`A` is not NAME=VALUE"),
            ("env =b", "NAME=VALUE"),
            ("workdir w", "absolute"),
            ("file b ./b", "absolute"),
            ("directory /d 9", "octal"),
            ("directory /d 10000", "octal"),
            ("symlink /l", "accepted"),
            ("library", "accepted"),
            ("text /a 'open", "quote"),
        ] {
            let error = Manifest::parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
