//! A map that can give up what has been in it for longest: what the caches of the store are made of.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Values by key; the first to come is the first to go.
pub(super) struct Fifo<K, V> {
    held: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V> Default for Fifo<K, V> {
    fn default() -> Self {
        Self { held: HashMap::new(), order: VecDeque::new() }
    }
}

impl<K: Copy + Eq + Hash, V> Fifo<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.held.get(key)
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Takes a value in; one that had the key before leaves its place in the order to it, and is returned.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = self.held.insert(key, value);
        if before.is_none() {
            self.order.push_back(key);
        }
        before
    }

    /// Gives up what came first until this many are left.
    pub(super) fn keep(&mut self, most: usize) {
        while self.len() > most && self.pop().is_some() {}
    }

    /// Gives up the value that came first.
    pub(super) fn pop(&mut self) -> Option<V> {
        self.order.pop_front().and_then(|key| self.held.remove(&key))
    }
}
