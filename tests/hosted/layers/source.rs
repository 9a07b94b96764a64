//! A crate as its source says it: modules, the names that they define, and which file names what of which other.
//!
//! Read are `use` declarations and paths, those in macros' arguments included. Not seen are names that need no path where
//! they are used: methods, fields, and what a glob import brings. What is compiled for tests only is left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Attribute, Item, UseTree};

/// What a name in a module stands for.
enum Definition {
    Module(usize),
    /// Something else that stands in the module's file.
    Here,
    /// A macro of that file, which `#[macro_export]` puts into the crate's root.
    Macro(usize),
    /// Something of elsewhere: a `use` declaration.
    Import(Vec<String>),
}

/// A module.
#[derive(Default)]
struct Module {
    parent: Option<usize>,
    file: usize,
    names: BTreeMap<String, Vec<Definition>>,
    globs: Vec<Vec<String>>,
    /// What is not a module or a `use` declaration, and is searched for paths.
    code: Vec<TokenStream>,
}

/// A file.
pub struct File {
    /// Its path from the workspace's root.
    pub path: String,
    /// The module that it is, from the crate's root.
    pub module: Vec<String>,
    /// Its text.
    pub text: String,
    /// What it takes from other files: a name for each.
    pub uses: BTreeMap<usize, String>,
}

/// A crate's library or program.
pub struct Source {
    /// Its files.
    pub files: Vec<File>,
    modules: Vec<Module>,
}

impl Source {
    /// Reads a crate from its root file.
    pub fn read(workspace: &Path, root: &Path) -> Self {
        let mut source = Self {
            files: Vec::new(),
            modules: Vec::new(),
        };
        let folder = root.parent().expect("a folder").to_path_buf();
        source.read_file(workspace, root, &folder, None, Vec::new());
        for module in 0..source.modules.len() {
            source.follow(module);
        }
        source
    }

    /// Reads a module's file; the files of its own modules are in `folder`.
    fn read_file(
        &mut self,
        workspace: &Path,
        path: &Path,
        folder: &Path,
        parent: Option<usize>,
        name: Vec<String>,
    ) -> usize {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = self.files.len();
        let shown = path.strip_prefix(workspace).unwrap_or(path);
        self.files.push(File {
            path: shown.display().to_string(),
            module: name,
            text,
            uses: BTreeMap::new(),
        });
        self.add_module(workspace, folder, parent, file, parsed.items)
    }

    fn add_module(
        &mut self,
        workspace: &Path,
        folder: &Path,
        parent: Option<usize>,
        file: usize,
        items: Vec<Item>,
    ) -> usize {
        let this = self.modules.len();
        self.modules.push(Module {
            parent,
            file,
            ..Module::default()
        });
        for item in items {
            if is_for_tests(attributes(&item)) {
                continue;
            }
            match item {
                Item::Mod(module) => {
                    let name = module.ident.to_string();
                    let within = folder.join(name.trim_start_matches("r#"));
                    let child = match module.content {
                        Some((_, items)) => {
                            self.add_module(workspace, &within, Some(this), file, items)
                        }
                        None => {
                            let alone = within.with_extension("rs");
                            let path = if alone.exists() {
                                alone
                            } else {
                                within.join("mod.rs")
                            };
                            let mut full = self.files[file].module.clone();
                            full.push(name.clone());
                            self.read_file(workspace, &path, &within, Some(this), full)
                        }
                    };
                    self.define(this, name, Definition::Module(child));
                }
                Item::Use(item) => self.import(this, &mut Vec::new(), &item.tree),
                item => {
                    if let Some(name) = name(&item) {
                        if is_exported_macro(&item) {
                            self.define(0, name.clone(), Definition::Macro(file));
                        }
                        self.define(this, name, Definition::Here);
                    }
                    self.modules[this].code.push(item.to_token_stream());
                }
            }
        }
        this
    }

    fn define(&mut self, module: usize, name: String, definition: Definition) {
        let names = &mut self.modules[module].names;
        names.entry(name).or_default().push(definition);
    }

    /// Adds what a `use` declaration brings.
    fn import(&mut self, module: usize, path: &mut Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.import(module, path, &part.tree);
                path.pop();
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(module, path, tree);
                }
            }
            UseTree::Glob(_) => self.modules[module].globs.push(path.clone()),
            UseTree::Name(last) if last.ident == "self" => {
                let name = path.last().expect("a name before `self`").clone();
                self.define(module, name, Definition::Import(path.clone()));
            }
            UseTree::Name(last) => self.import_as(module, path, &last.ident, &last.ident),
            UseTree::Rename(last) => self.import_as(module, path, &last.ident, &last.rename),
        }
    }

    fn import_as(
        &mut self,
        module: usize,
        path: &[String],
        name: &syn::Ident,
        known_as: &syn::Ident,
    ) {
        let mut full = path.to_vec();
        full.push(name.to_string());
        self.define(module, known_as.to_string(), Definition::Import(full));
    }

    /// Finds what a module's declarations and code name.
    fn follow(&mut self, module: usize) {
        let this = &self.modules[module];
        let mut named = BTreeSet::new();
        for definitions in this.names.values() {
            for definition in definitions {
                if let Definition::Import(path) = definition {
                    named.insert(path.clone());
                }
            }
        }
        named.extend(this.globs.iter().cloned());
        for code in &this.code {
            paths(code.clone(), &[], &mut named);
        }
        let from = this.file;
        for mut path in named {
            path.pop_if(|last| last == "self");
            let mut found = BTreeSet::new();
            self.resolve(module, &path, 0, &mut found);
            for file in found {
                if file != from {
                    let name = path.last().expect("a path has a name").clone();
                    self.files[from].uses.entry(file).or_insert(name);
                }
            }
        }
    }

    /// Adds the files in which what a path names stands.
    fn resolve(&self, from: usize, path: &[String], depth: usize, found: &mut BTreeSet<usize>) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        let parent = |module: usize| self.modules[module].parent.unwrap_or(module);
        match first.as_str() {
            "crate" => self.walk(0, rest, depth, found),
            "self" => self.walk(from, rest, depth, found),
            "super" => {
                let (mut module, mut rest) = (parent(from), rest);
                while let Some((first, after)) = rest.split_first()
                    && first == "super"
                {
                    (module, rest) = (parent(module), after);
                }
                self.walk(module, rest, depth, found);
            }
            _ => self.walk(from, path, depth, found),
        }
    }

    /// Follows a path from a module down.
    fn walk(&self, module: usize, path: &[String], depth: usize, found: &mut BTreeSet<usize>) {
        // A name may be imported under itself.
        if depth > 16 {
            return;
        }
        let Some((first, rest)) = path.split_first() else {
            found.insert(self.modules[module].file);
            return;
        };
        let this = &self.modules[module];
        let Some(definitions) = this.names.get(first) else {
            for glob in &this.globs {
                let mut full = glob.clone();
                full.extend_from_slice(path);
                // The module itself was named by the declaration.
                self.resolve(module, &full, depth + 1, found);
            }
            return;
        };
        for definition in definitions {
            match definition {
                Definition::Module(child) => self.walk(*child, rest, depth, found),
                Definition::Here => drop(found.insert(this.file)),
                Definition::Macro(file) => drop(found.insert(*file)),
                Definition::Import(import) => {
                    let mut full = import.clone();
                    full.extend_from_slice(rest);
                    self.resolve(module, &full, depth + 1, found);
                }
            }
        }
    }
}

/// Adds the paths of at least two names in some code. `before` is the path that a group of a `use` declaration goes on from.
fn paths(code: TokenStream, before: &[String], found: &mut BTreeSet<Vec<String>>) {
    let mut path = before.to_vec();
    // Colons since the last name.
    let mut colons = 2 * usize::from(!before.is_empty());
    let mut end = |path: &mut Vec<String>, colons: &mut usize| {
        if path.len() > 1 && *colons == 0 {
            found.insert(path.clone());
        }
        *path = before.to_vec();
        *colons = 2 * usize::from(!before.is_empty());
    };
    let mut groups = Vec::new();
    for token in code {
        match token {
            TokenTree::Ident(ident) => {
                if colons != 2 {
                    end(&mut path, &mut colons);
                }
                if colons != 2 {
                    path.clear();
                }
                path.push(ident.to_string());
                colons = 0;
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' && !path.is_empty() => colons += 1,
            TokenTree::Group(group) => {
                let goes_on = colons == 2 && group.delimiter() == Delimiter::Brace;
                groups.push((
                    group.stream(),
                    if goes_on { path.clone() } else { Vec::new() },
                ));
                end(&mut path, &mut colons);
            }
            _ => end(&mut path, &mut colons),
        }
    }
    end(&mut path, &mut colons);
    for (code, before) in groups {
        paths(code, &before, found);
    }
}

fn is_exported_macro(item: &Item) -> bool {
    matches!(item, Item::Macro(_))
        && attributes(item)
            .iter()
            .any(|a| a.path().is_ident("macro_export"))
}

/// Whether an item is compiled for tests only.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|a| {
        let text = a.meta.to_token_stream().to_string().replace(' ', "");
        text == "cfg(test)" || text.starts_with("cfg(all(test,") || text == "test"
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(i) => &i.attrs,
        Item::Enum(i) => &i.attrs,
        Item::ExternCrate(i) => &i.attrs,
        Item::Fn(i) => &i.attrs,
        Item::ForeignMod(i) => &i.attrs,
        Item::Impl(i) => &i.attrs,
        Item::Macro(i) => &i.attrs,
        Item::Mod(i) => &i.attrs,
        Item::Static(i) => &i.attrs,
        Item::Struct(i) => &i.attrs,
        Item::Trait(i) => &i.attrs,
        Item::Type(i) => &i.attrs,
        Item::Union(i) => &i.attrs,
        Item::Use(i) => &i.attrs,
        _ => &[],
    }
}

fn name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(i) => &i.ident,
        Item::Enum(i) => &i.ident,
        Item::Fn(i) => &i.sig.ident,
        Item::Macro(i) => i.ident.as_ref()?,
        Item::Static(i) => &i.ident,
        Item::Struct(i) => &i.ident,
        Item::Trait(i) => &i.ident,
        Item::Type(i) => &i.ident,
        Item::Union(i) => &i.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// The root file of the crate in a folder.
pub fn root_of(folder: &Path) -> Option<PathBuf> {
    ["src/lib.rs", "src/main.rs", "lib.rs"]
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.exists())
}
