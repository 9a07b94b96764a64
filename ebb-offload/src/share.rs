//! What a front end lets the nodes of its cluster have.

use alloc::{
    collections::BTreeSet,
    string::{String, ToString},
};

use ebb_distributed::RemoteRef;
use ebb_runtime::EbbRef;

use crate::{files::Files, front_end::FrontEnd, host::Host};

/// What is shared. Nothing is that is not named here, but the time.
#[derive(Clone, Debug, Default)]
pub struct Share {
    directory: Option<String>,
    variables: BTreeSet<String>,
    names: bool,
}

impl Share {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The files of a directory and of those in it, to be read.
    #[must_use]
    pub fn directory(mut self, path: &str) -> Self {
        self.directory = Some(path.to_string());
        self
    }

    /// A variable of the environment.
    #[must_use]
    pub fn variable(mut self, name: &str) -> Self {
        self.variables.insert(name.to_string());
        self
    }

    /// The addresses of names.
    #[must_use]
    pub fn names(mut self) -> Self {
        self.names = true;
        self
    }

    /// Shares it with all nodes of the cluster from now on, instead of what was shared before.
    ///
    /// # Errors
    /// The directory cannot be opened: why, in words for people. Nothing has changed then.
    pub fn serve(self) -> Result<(), String> {
        match &self.directory {
            Some(path) => {
                let root = EbbRef::<dyn Host>::get().open_root(path)?;
                EbbRef::<Files>::get().set(root);
                EbbRef::<Files>::new().serve();
            }
            None => EbbRef::<Files>::new().withdraw(),
        }
        EbbRef::<FrontEnd>::get().set(self.variables, self.names);
        EbbRef::<FrontEnd>::new().serve();
        Ok(())
    }
}
