use crate::TreePlan;

mod links;
mod names;
mod plain;
mod refused;
mod terms;

/// A tree whose manifests the real 0install wrote down.
#[derive(Debug, Clone)]
pub struct Vector {
    /// Its name in `vectors/expected.json`; numbers group what belongs together.
    pub name: &'static str,
    /// What it is there for.
    pub why: &'static str,
    /// What it consists of.
    pub plan: TreePlan,
}

/// All vectors, by name.
pub fn vectors() -> Vec<Vector> {
    let mut vectors = plain::vectors();
    vectors.extend(names::vectors());
    vectors.extend(links::vectors());
    vectors.extend(refused::vectors());
    vectors.sort_by_key(|vector| vector.name);
    vectors
}
