//! Finds many texts in a stream of symbols in linear time (Aho and Corasick, 1975).
//!
//! The crate `aho-corasick` does not tell how many symbols of the stream may still belong to a text. A filter of a stream
//! needs this number, because it must not pass these symbols on yet.

use std::collections::VecDeque;

use zeroize::Zeroizing;

/// State of a search: the longest suffix of the stream that is a prefix of a text. The state 0 is the empty prefix.
pub type TrieState = u32;

/// A text to find.
#[derive(Clone, Copy)]
pub struct Needle {
    /// Number of symbols.
    pub length: usize,
    /// Index of the secret.
    pub secret: usize,
    /// Some bits of the symbol before the text, if this symbol contains bits of the secret.
    pub before: Option<SymbolBits>,
    /// Some bits of the symbol after the text, if this symbol contains bits of the secret.
    pub after: Option<SymbolBits>,
}

/// Some bits of a symbol.
#[derive(Clone, Copy)]
pub struct SymbolBits {
    pub mask: u8,
    pub value: u8,
}

impl SymbolBits {
    pub fn fits(self, symbol: u8) -> bool {
        symbol & self.mask == self.value
    }
}

/// The texts, as a tree of their prefixes. Each node is a state.
pub struct NeedleTrie {
    /// The symbols contain the secrets, so they are overwritten at the end.
    symbols: Zeroizing<Vec<u8>>,
    first_child: Vec<TrieState>,
    sibling: Vec<TrieState>,
    /// The longest proper suffix of the state that is also a state.
    shorter: Vec<TrieState>,
    depth: Vec<u32>,
    /// Number of the text that ends in the state, plus 1, or 0. After [`NeedleTrie::finish`], the number of the longest
    /// text that is a suffix of the state.
    found: Vec<u32>,
    needles: Vec<Needle>,
    /// The children of the state 0.
    roots: [TrieState; 256],
    /// True for each symbol that may contain bits of a secret before the first symbol of a text.
    before: [bool; 256],
}

impl NeedleTrie {
    pub fn new() -> Self {
        Self {
            symbols: vec![0].into(),
            first_child: vec![0],
            sibling: vec![0],
            shorter: vec![0],
            depth: vec![0],
            found: vec![0],
            needles: Vec::new(),
            roots: [0; 256],
            before: [false; 256],
        }
    }

    /// Adds a text. A text that is already there keeps its first secret.
    pub fn insert(&mut self, symbols: impl Iterator<Item = u8>, needle: Needle) {
        let mut state = 0;
        for symbol in symbols {
            state = self
                .child(state, symbol)
                .unwrap_or_else(|| self.grow(state, symbol));
        }
        if state == 0 {
            return;
        }
        if let Some(bits) = needle.before {
            (0..=u8::MAX)
                .filter(|symbol| bits.fits(*symbol))
                .for_each(|symbol| self.before[usize::from(symbol)] = true);
        }
        let found = &mut self.found[state as usize];
        if *found == 0 {
            self.needles.push(needle);
            *found = self.needles.len() as u32; // at most one text per state
        }
    }

    fn grow(&mut self, parent: TrieState, symbol: u8) -> TrieState {
        let new = self.symbols.len() as TrieState; // the secrets of a run have at most 128 KiB, see `planned_secret`
        self.symbols.push(symbol);
        self.first_child.push(0);
        self.sibling.push(self.first_child[parent as usize]);
        self.shorter.push(0);
        self.depth.push(self.depth[parent as usize] + 1);
        self.found.push(0);
        self.first_child[parent as usize] = new;
        if parent == 0 {
            self.roots[usize::from(symbol)] = new;
        }
        new
    }

    fn child(&self, state: TrieState, symbol: u8) -> Option<TrieState> {
        if state == 0 {
            return Some(self.roots[usize::from(symbol)]).filter(|child| *child != 0);
        }
        let mut child = self.first_child[state as usize];
        while child != 0 && self.symbols[child as usize] != symbol {
            child = self.sibling[child as usize];
        }
        Some(child).filter(|child| *child != 0)
    }

    /// Completes the tree after the last text.
    pub fn finish(&mut self) {
        let mut queue: VecDeque<TrieState> = self
            .roots
            .iter()
            .copied()
            .filter(|root| *root != 0)
            .collect();
        while let Some(state) = queue.pop_front() {
            let mut child = self.first_child[state as usize];
            while child != 0 {
                self.shorter[child as usize] =
                    self.next(self.shorter[state as usize], self.symbols[child as usize]);
                queue.push_back(child);
                child = self.sibling[child as usize];
            }
            if self.found[state as usize] == 0 {
                self.found[state as usize] = self.found[self.shorter[state as usize] as usize];
            }
        }
    }

    /// Returns the state after the next symbol of the stream.
    pub fn next(&self, mut state: TrieState, symbol: u8) -> TrieState {
        loop {
            match self.child(state, symbol) {
                Some(child) => return child,
                None if state == 0 => return 0,
                None => state = self.shorter[state as usize],
            }
        }
    }

    /// Returns the number of symbols that may still become a text.
    pub fn depth(&self, state: TrieState) -> usize {
        self.depth[state as usize] as usize
    }

    /// Returns the longest text that ends at this place of the stream.
    pub fn found(&self, state: TrieState) -> Option<Needle> {
        let number = (self.found[state as usize] as usize).checked_sub(1)?;
        self.needles.get(number).copied()
    }

    /// Returns true if the symbol may contain bits of a secret before a text.
    pub fn may_come_before(&self, symbol: u8) -> bool {
        self.before[usize::from(symbol)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needle(length: usize, secret: usize) -> Needle {
        Needle {
            length,
            secret,
            before: None,
            after: None,
        }
    }

    #[test]
    fn each_text_is_found_where_it_ends_also_inside_of_another_text() {
        let mut trie = NeedleTrie::new();
        for (secret, text) in ["abcabd", "bca", "cc", "abcabd"].into_iter().enumerate() {
            trie.insert(text.bytes(), needle(text.len(), secret));
        }
        trie.finish();
        let (mut state, mut found) = (0, Vec::new());
        for (at, symbol) in "xabcabcabdccc".bytes().enumerate() {
            state = trie.next(state, symbol);
            found.extend(trie.found(state).map(|needle| (at, needle.secret)));
        }
        assert_eq!(found, [(4, 1), (7, 1), (9, 0), (11, 2), (12, 2)]);
        assert_eq!(trie.depth(trie.next(0, b'a')), 1);
        assert_eq!(trie.depth(trie.next(0, b'z')), 0);
    }
}
