//! A generational slab: stable keys that notice when what they named has gone.

use std::marker::PhantomData;

/// Names an entry of a [`Slab`] of `T`. A key whose entry was removed finds nothing, also when the place has
/// been taken again.
pub(crate) struct Key<T> {
    index: u32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// The place in the slab; unique among the entries that live.
    pub(crate) const fn index(self) -> u32 {
        self.index
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index && self.generation == other.generation
    }
}

impl<T> Eq for Key<T> {}

impl<T> std::fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

/// Entries in places that are reused last-freed-first.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Puts a value into a free place.
    pub(crate) fn insert(&mut self, value: T) -> Key<T> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry {
                generation: 0,
                value: None,
            });
            u32::try_from(self.entries.len() - 1)
                .unwrap_or_else(|_| unreachable!("callers bound their tables"))
        });
        let entry = &mut self.entries[index as usize];
        entry.value = Some(value);
        Key {
            index,
            generation: entry.generation,
            of: PhantomData,
        }
    }

    pub(crate) fn get(&self, key: Key<T>) -> Option<&T> {
        self.entries
            .get(key.index as usize)
            .filter(|e| e.generation == key.generation)?
            .value
            .as_ref()
    }

    pub(crate) fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        self.entries
            .get_mut(key.index as usize)
            .filter(|e| e.generation == key.generation)?
            .value
            .as_mut()
    }

    /// Takes the value out; its key finds nothing from now on.
    pub(crate) fn remove(&mut self, key: Key<T>) -> Option<T> {
        let entry = self
            .entries
            .get_mut(key.index as usize)
            .filter(|e| e.generation == key.generation)?;
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    /// The key of the entry at this place, if one lives there.
    pub(crate) fn key_at(&self, index: u32) -> Option<Key<T>> {
        let entry = self.entries.get(index as usize)?;
        entry.value.as_ref().map(|_| Key {
            index,
            generation: entry.generation,
            of: PhantomData,
        })
    }

    /// How many places there are, free ones included.
    pub(crate) fn places(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|e| e.value.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_find_the_successor_in_its_place() {
        let mut slab = Slab::new();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!(second.index(), first.index());
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn behaves_as_a_map_under_any_sequence() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut slab = Slab::new();
        let mut live: Vec<(Key<u32>, u32)> = Vec::new();
        let mut dead: Vec<Key<u32>> = Vec::new();
        for step in 0..2_000_u32 {
            if live.is_empty() || rng.bool() {
                live.push((slab.insert(step), step));
            } else {
                let (key, value) = live.swap_remove(rng.usize(..live.len()));
                assert_eq!(slab.remove(key), Some(value));
                dead.push(key);
            }
            assert_eq!(slab.len(), live.len());
        }
        assert!(
            live.iter()
                .all(|&(key, value)| slab.get(key) == Some(&value)
                    && slab.key_at(key.index()) == Some(key))
        );
        assert!(dead.iter().all(|&key| slab.get(key).is_none()));
    }
}
