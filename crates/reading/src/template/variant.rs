//! Variants of a template: the script for one set of decisions, with a slot for each value.

use crate::{Condition, RenderError, TemplateNode, ValueName};

/// Script for one set of decisions.
#[derive(Debug, Default)]
pub struct Variant {
    pub parts: Vec<VariantPart>,
    pub slots: Vec<VariantSlot>,
}

/// Part of a variant.
#[derive(Debug)]
pub enum VariantPart {
    /// Text of the script, with its byte offset in the source.
    Text(String, usize),
    /// A value, as an index of [`Variant::slots`].
    Slot(usize),
}

/// Place for a value.
#[derive(Debug)]
pub struct VariantSlot {
    /// Byte offset of the placeholder in the source.
    pub offset: usize,
    /// The parameter that contains the value.
    pub parameter: String,
    pub part: SlotPart,
}

/// Part of a parameter that a slot contains.
#[derive(Debug)]
pub enum SlotPart {
    Whole,
    /// Item of the list with this index.
    Item(usize),
    /// The index itself.
    Index(usize),
}

/// A place of a template where the values decide what follows.
pub enum VariantDecision<'t> {
    /// Which branch is taken.
    Branch(&'t [(Option<Condition>, Vec<TemplateNode>)], RangeItem<'t>),
    /// The number of items in the list of the named parameter.
    Count(&'t str),
}

/// The list of the surrounding range, with the index of the current item.
pub type RangeItem<'t> = Option<(&'t str, usize)>;

/// Returns the variant for the decisions of `decide`.
pub fn expand<'t, E>(
    nodes: &'t [TemplateNode],
    decide: &mut dyn FnMut(VariantDecision<'t>) -> Result<usize, E>,
) -> Result<Variant, E> {
    let mut variant = Variant::default();
    expand_into(nodes, None, &mut variant, decide)?;
    Ok(variant)
}

fn expand_into<'t, E>(
    nodes: &'t [TemplateNode],
    item: RangeItem<'t>,
    variant: &mut Variant,
    decide: &mut dyn FnMut(VariantDecision<'t>) -> Result<usize, E>,
) -> Result<(), E> {
    for node in nodes {
        match node {
            TemplateNode::Text(text, offset) => {
                variant.parts.push(VariantPart::Text(text.clone(), *offset))
            }
            TemplateNode::Value(name, offset) => {
                let (parameter, part) = match (name, item) {
                    (ValueName::Parameter(name), _) => (name.as_str(), SlotPart::Whole),
                    (ValueName::Item, Some((list, index))) => (list, SlotPart::Item(index)),
                    (ValueName::Index, Some((list, index))) => (list, SlotPart::Index(index)),
                    // The parser accepts items only inside a range.
                    (_, None) => continue,
                };
                variant.parts.push(VariantPart::Slot(variant.slots.len()));
                variant.slots.push(VariantSlot {
                    offset: *offset,
                    parameter: parameter.to_owned(),
                    part,
                });
            }
            TemplateNode::Choice(branches) => {
                let branch = decide(VariantDecision::Branch(branches, item))?;
                if let Some((_, nodes)) = branches.get(branch) {
                    expand_into(nodes, item, variant, decide)?;
                }
            }
            TemplateNode::Repeat(ValueName::Parameter(list), nodes) => {
                for index in 0..decide(VariantDecision::Count(list))? {
                    expand_into(nodes, Some((list, index)), variant, decide)?;
                }
            }
            TemplateNode::Repeat(..) => {}
        }
    }
    Ok(())
}

/// Returns every variant of a template with its decisions, with 0, 1 and 2 items for each list, or `None` if there are
/// more than [`MAX_VARIANTS`].
pub fn all(nodes: &[TemplateNode]) -> Option<Vec<(Vec<usize>, Variant)>> {
    let mut variants = Vec::new();
    // The decisions of a variant, each with the number of its possible results.
    let mut path: Vec<(usize, usize)> = Vec::new();
    loop {
        let mut next = 0;
        let variant = expand::<()>(nodes, &mut |decision| {
            if next == path.len() {
                path.push((
                    0,
                    match decision {
                        VariantDecision::Branch(branches, _) => branches.len(),
                        VariantDecision::Count(_) => MAX_ITEMS + 1,
                    },
                ));
            }
            next += 1;
            Ok(path[next - 1].0)
        })
        .ok()?;
        if variants.len() == MAX_VARIANTS {
            return None;
        }
        variants.push((path.iter().map(|(taken, _)| *taken).collect(), variant));
        while path
            .last()
            .is_some_and(|(taken, count)| taken + 1 >= *count)
        {
            path.pop();
        }
        match path.last_mut() {
            Some((taken, _)) => *taken += 1,
            None => return Some(variants),
        }
    }
}

impl Variant {
    /// Returns a flaw at a slot: its byte offset in the source and the message.
    pub fn flaw(&self, slot: usize, message: &str) -> (usize, String) {
        (self.slots[slot].offset, message.to_owned())
    }

    /// Returns an error of the parameter of a slot.
    pub fn error(&self, slot: usize, message: impl Into<String>) -> RenderError {
        RenderError::new(&self.slots[slot].parameter, message)
    }

    /// Returns the script with a text for each slot.
    pub fn text(&self, slot: &mut dyn FnMut(usize) -> String) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                VariantPart::Text(part, _) => text.push_str(part),
                VariantPart::Slot(index) => text.push_str(&slot(*index)),
            }
        }
        text
    }

    /// Returns the source offset of the byte `at` of the script in which each slot has `width` bytes.
    pub fn offset(&self, at: usize, width: usize) -> usize {
        let (mut from, mut last) = (0, 0);
        for part in &self.parts {
            let (length, offset) = match part {
                VariantPart::Text(text, offset) => (text.len(), *offset),
                VariantPart::Slot(index) => (width, self.slots[*index].offset),
            };
            if at < from + length {
                return if matches!(part, VariantPart::Text(..)) {
                    offset + at - from
                } else {
                    offset
                };
            }
            from += length;
            last = offset;
        }
        last
    }

    /// Adds, for each line of the script and for the empty line behind it, the number of the line of `source` that
    /// contains the first text of the line.
    pub fn add_lines(&self, source: &str, lines: &mut Vec<usize>) {
        let line_of =
            |offset: usize| source.get(..offset).unwrap_or(source).matches('\n').count() + 1;
        let (mut begins, mut last) = (true, 0);
        for part in &self.parts {
            let (text, offset) = match part {
                VariantPart::Text(text, offset) => (text.as_str(), *offset),
                VariantPart::Slot(slot) => ("7", self.slots[*slot].offset),
            };
            let mut at = offset;
            for line in text.split_inclusive('\n') {
                if begins {
                    lines.push(line_of(at));
                }
                begins = line.ends_with('\n');
                at += line.len();
            }
            last = at;
        }
        if begins {
            lines.push(line_of(last));
        }
    }
}

/// Maximum number of variants, because every variant is parsed.
pub const MAX_VARIANTS: usize = 64;
/// Number of items of a list up to which every variant is parsed beforehand.
pub const MAX_ITEMS: usize = 2;
