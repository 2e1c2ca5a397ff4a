//! Lists that cannot grow.

use std::{ops::Deref, slice, vec};

/// A list of at most `N` items: the bound is part of the type, so nobody checks it again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AtMost<T, const N: usize>(Vec<T>);

/// A list was longer than its format allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{count} items, at most {most} fit")]
pub struct TooMany {
    /// How many there were.
    pub count: usize,
    /// How many there may be.
    pub most: usize,
}

impl<T, const N: usize> AtMost<T, N> {
    /// Takes the first `N` items, and leaves the rest untouched.
    pub fn first(items: impl IntoIterator<Item = T>) -> Self {
        Self(items.into_iter().take(N).collect())
    }

    /// Adds an item, and gives it back when the list is full.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.0.len() == N {
            return Err(item);
        }
        self.0.push(item);
        Ok(())
    }

    /// Gives the items away.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const N: usize> Default for AtMost<T, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const N: usize> TryFrom<Vec<T>> for AtMost<T, N> {
    type Error = TooMany;

    fn try_from(items: Vec<T>) -> Result<Self, TooMany> {
        if items.len() > N {
            return Err(TooMany {
                count: items.len(),
                most: N,
            });
        }
        Ok(Self(items))
    }
}

impl<T, const N: usize> Deref for AtMost<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const N: usize> IntoIterator for AtMost<T, N> {
    type Item = T;
    type IntoIter = vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T, const N: usize> IntoIterator for &'a AtMost<T, N> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_past_its_bound_is_refused_or_cut() {
        assert_eq!(
            AtMost::<u8, 2>::try_from(vec![1, 2, 3]),
            Err(TooMany { count: 3, most: 2 })
        );
        let mut cut = AtMost::<u8, 2>::first([1, 2, 3]);
        assert_eq!(*cut, [1, 2]);
        assert_eq!(cut.push(4), Err(4));
    }
}
