//! Slots with generations: the ids a machine hands out, and what stands behind them.
//!
//! An id names a slot and the generation that lives in it. When the slot is given to another, its
//! generation has moved on and the old id misses: a late completion can never reach a stranger.

use alloc::vec::Vec;

/// An index and a generation.
pub(crate) trait Key: Copy {
    fn new(index: u32, generation: u32) -> Self;
    fn index(self) -> u32;
    fn generation(self) -> u32;
}

#[derive(Debug)]
enum Slot<T> {
    Free { next: u32, generation: u32 },
    Full { generation: u32, value: T },
}

const END: u32 = u32::MAX;

/// Values in reused slots, addressed by generational keys.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    len: usize,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Slab { slots: Vec::new(), free: END, len: 0 }
    }

    pub(crate) fn insert<K: Key>(&mut self, value: T) -> K {
        self.insert_with(|_| value)
    }

    /// Inserts a value that wants to know its own key.
    pub(crate) fn insert_with<K: Key>(&mut self, make: impl FnOnce(K) -> T) -> K {
        self.len += 1;
        if self.free == END {
            let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 live slots");
            let key = K::new(index, 0);
            self.slots.push(Slot::Full { generation: 0, value: make(key) });
            return key;
        }
        let index = self.free;
        let slot = &mut self.slots[index as usize];
        let Slot::Free { next, generation } = *slot else { unreachable!("the free list holds free slots") };
        self.free = next;
        let key = K::new(index, generation);
        *slot = Slot::Full { generation, value: make(key) };
        key
    }

    pub(crate) fn get<K: Key>(&self, key: K) -> Option<&T> {
        match self.slots.get(key.index() as usize) {
            Some(Slot::Full { generation, value }) if *generation == key.generation() => Some(value),
            _ => None,
        }
    }

    pub(crate) fn get_mut<K: Key>(&mut self, key: K) -> Option<&mut T> {
        match self.slots.get_mut(key.index() as usize) {
            Some(Slot::Full { generation, value }) if *generation == key.generation() => Some(value),
            _ => None,
        }
    }

    pub(crate) fn remove<K: Key>(&mut self, key: K) -> Option<T> {
        self.get(key)?;
        let slot = &mut self.slots[key.index() as usize];
        let freed = Slot::Free { next: self.free, generation: key.generation().wrapping_add(1) };
        let Slot::Full { value, .. } = core::mem::replace(slot, freed) else { unreachable!("just looked") };
        self.free = key.index();
        self.len -= 1;
        Some(value)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The keys of all full slots, in slot order.
    pub(crate) fn keys<K: Key>(&self) -> Vec<K> {
        let full = |(index, slot): (usize, &Slot<T>)| match slot {
            Slot::Full { generation, .. } => Some(K::new(index as u32, *generation)),
            Slot::Free { .. } => None,
        };
        self.slots.iter().enumerate().filter_map(full).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::StreamId;

    #[test]
    fn an_old_id_misses_the_slots_next_tenant() {
        let mut slab = Slab::new();
        let first: StreamId = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second: StreamId = slab.insert("second");
        assert_eq!(second.index(), first.index());
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"second"));
        assert_eq!(slab.len(), 1);
        assert_eq!(slab.keys::<StreamId>(), [second]);
    }
}
