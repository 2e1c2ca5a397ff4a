use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use cargo_metadata::{DependencyKind, MetadataCommand, Package, PackageId};

use crate::files::root;

/// Who depends on whom in what is built to run; dependencies of tests and of build scripts are left
/// out.
#[derive(Debug)]
pub struct Graph {
    members: Vec<Package>,
    /// Direct dependencies by name, of members and of all that they need.
    direct: BTreeMap<String, BTreeSet<String>>,
}

/// Asks cargo about the workspace.
pub fn graph() -> anyhow::Result<Graph> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        // Without a platform cargo would ask for crates that are never built here.
        .other_options(
            ["--locked", "--filter-platform", "x86_64-unknown-linux-gnu"].map(String::from),
        )
        .exec()?;
    let names: BTreeMap<&PackageId, String> = metadata
        .packages
        .iter()
        .map(|package| (&package.id, package.name.to_string()))
        .collect();
    let mut direct: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let resolve = metadata
        .resolve
        .as_ref()
        .context("cargo resolves nothing")?;
    for node in &resolve.nodes {
        let needs = direct.entry(names[&node.id].clone()).or_default();
        for dependency in &node.deps {
            let runs = |kind: &cargo_metadata::DepKindInfo| kind.kind == DependencyKind::Normal;
            if dependency.dep_kinds.iter().any(runs) {
                needs.insert(names[&dependency.pkg].clone());
            }
        }
    }
    let members = metadata.workspace_packages().into_iter().cloned().collect();
    Ok(Graph { members, direct })
}

impl Graph {
    /// The packages of the workspace.
    pub fn members(&self) -> &[Package] {
        &self.members
    }

    /// The names of the members in one folder of the workspace, such as `crates`.
    pub fn members_in(&self, folder: &str) -> Vec<String> {
        let folder = root().join(folder);
        let inside = self
            .members
            .iter()
            .filter(|member| member.manifest_path.starts_with(&folder));
        inside.map(|member| member.name.to_string()).collect()
    }

    /// What one package names as its dependencies.
    pub fn direct(&self, package: &str) -> BTreeSet<String> {
        self.direct.get(package).cloned().unwrap_or_default()
    }

    /// The members that one package names as its dependencies.
    pub fn direct_members(&self, package: &str) -> BTreeSet<String> {
        let mut direct = self.direct(package);
        direct.retain(|name| self.members.iter().any(|member| *member.name == *name));
        direct
    }

    /// All that one package needs, and that they need in turn.
    pub fn all(&self, package: &str) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut waiting = vec![package.to_owned()];
        while let Some(name) = waiting.pop() {
            let unseen = self
                .direct(&name)
                .into_iter()
                .filter(|name| all.insert(name.clone()));
            waiting.extend(unseen);
        }
        all
    }
}
