//! Generates classic BPF programs for seccomp.
//!
//! A balanced tree of comparisons finds the system call's number, so each call costs about six comparisons. For numbers
//! that are always allowed, the kernel caches the decision. The input is `struct seccomp_data`.

/// One instruction, with the layout of the kernel's `struct sock_filter`.
#[derive(Debug, PartialEq)]
#[repr(C)]
pub struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub value: u32,
}

/// The decision for a system call (a value `SECCOMP_RET_…` of the kernel).
#[derive(Clone, Copy, PartialEq)]
pub struct FilterVerdict(pub u32);

impl FilterVerdict {
    pub const ALLOW: Self = Self(0x7fff_0000);
    pub const KILL: Self = Self(0x8000_0000);
    /// The call waits until the process with the filter's listener has answered.
    pub const NOTIFY: Self = Self(0x7fc0_0000);

    /// Returns the verdict that the call fails with `errno` and is not executed.
    pub const fn errno(errno: u16) -> Self {
        Self(0x0005_0000 | errno as u32)
    }
}

/// The rule for a system call, which is a verdict or a list of argument checks.
#[derive(Clone, Copy, PartialEq)]
pub enum FilterEntry {
    Is(FilterVerdict),
    Looks(&'static [ArgumentTest]),
}

/// A check of the lower 32 bits of an argument. The checks of a call are made in order. The last check must match every
/// argument.
#[derive(PartialEq)]
pub enum ArgumentTest {
    /// Matches if the argument has any of these bits.
    AnyBit {
        argument: u32,
        bits: u32,
        then: FilterVerdict,
    },
    /// With `is_one`, matches if the masked argument is one of these values. Without `is_one`, matches if it is none of
    /// these values.
    Value {
        argument: u32,
        mask: u32,
        values: &'static [u32],
        is_one: bool,
        then: FilterVerdict,
    },
    /// Always matches.
    Else(FilterVerdict),
}

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const BITS: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Offset of the system call's number in `struct seccomp_data`.
const NUMBER: u32 = 0;
/// Offset of the architecture in `struct seccomp_data`.
const ARCH: u32 = 4;
/// Offset of the lower half of the first argument in `struct seccomp_data`. Both supported architectures (x86-64 and
/// AArch64) are little-endian.
const ARGUMENTS: u32 = 16;

/// Returns the program for one architecture. `entries` are sorted by number. Each entry applies to its own number and
/// to all higher numbers below the next entry's number. Numbers below the number of the first entry are allowed. A call
/// of another architecture kills the process.
pub fn program(arch: u32, entries: &[(u32, FilterEntry)]) -> Vec<Instruction> {
    let mut program = vec![
        instruction(LOAD, ARCH),
        jump(EQUAL, arch, 1, 0),
        instruction(RETURN, FilterVerdict::KILL.0),
        instruction(LOAD, NUMBER),
    ];
    let mut all = vec![(0, FilterEntry::Is(FilterVerdict::ALLOW))];
    all.extend_from_slice(entries);
    program.extend(tree(&all));
    program
}

/// Returns the program as the bytes that the kernel receives. The receipt contains the SHA-256 of these bytes.
pub fn bytes(program: &[Instruction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for one in program {
        bytes.extend_from_slice(&one.code.to_le_bytes());
        bytes.extend_from_slice(&[one.jump_true, one.jump_false]);
        bytes.extend_from_slice(&one.value.to_le_bytes());
    }
    bytes
}

fn instruction(code: u16, value: u32) -> Instruction {
    jump(code, value, 0, 0)
}

fn jump(code: u16, value: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction {
        code,
        jump_true,
        jump_false,
        value,
    }
}

fn tree(entries: &[(u32, FilterEntry)]) -> Vec<Instruction> {
    let [(_, only)] = entries else {
        let (left, right) = entries.split_at(entries.len() / 2);
        let (from, _) = right[0];
        let (left, right) = (tree(left), tree(right));
        let mut code = match u8::try_from(left.len()) {
            Ok(over) => vec![jump(AT_LEAST, from, over, 0)],
            // A conditional jump skips at most 255 instructions.
            Err(_) => vec![
                jump(AT_LEAST, from, 0, 1),
                instruction(JUMP, u32::try_from(left.len()).unwrap_or(u32::MAX)),
            ],
        };
        code.extend(left);
        code.extend(right);
        return code;
    };
    match only {
        FilterEntry::Is(verdict) => vec![instruction(RETURN, verdict.0)],
        FilterEntry::Looks(looks) => looks.iter().flat_map(look).collect(),
    }
}

fn look(look: &ArgumentTest) -> Vec<Instruction> {
    match *look {
        ArgumentTest::AnyBit {
            argument,
            bits,
            then,
        } => vec![
            instruction(LOAD, ARGUMENTS + 8 * argument),
            jump(BITS, bits, 0, 1),
            instruction(RETURN, then.0),
        ],
        ArgumentTest::Value {
            argument,
            mask,
            values,
            is_one,
            then,
        } => {
            let mut code = vec![
                instruction(LOAD, ARGUMENTS + 8 * argument),
                instruction(AND, mask),
            ];
            for (at, &value) in values.iter().enumerate() {
                // The verdict follows the comparison with the last value. With `is_one`, an equal value jumps to the
                // verdict. Without `is_one`, an equal value jumps past the verdict.
                let to_verdict = u8::try_from(values.len() - at - 1).unwrap_or(u8::MAX);
                let last = to_verdict == 0;
                code.push(if is_one {
                    jump(EQUAL, value, to_verdict, u8::from(last))
                } else {
                    jump(EQUAL, value, to_verdict.saturating_add(1), 0)
                });
            }
            code.push(instruction(RETURN, then.0));
            code
        }
        ArgumentTest::Else(verdict) => vec![instruction(RETURN, verdict.0)],
    }
}

/// An independent interpreter of BPF programs, for tests.
#[cfg(test)]
pub(crate) mod machine {
    use super::Instruction;

    /// Returns the verdict of `program` for a call, and the number of executed instructions.
    pub(crate) fn run(
        program: &[Instruction],
        arch: u32,
        number: u32,
        arguments: [u64; 6],
    ) -> (u32, u32) {
        let mut data = Vec::new();
        data.extend_from_slice(&number.to_le_bytes());
        data.extend_from_slice(&arch.to_le_bytes());
        data.extend_from_slice(&0_u64.to_le_bytes());
        arguments
            .iter()
            .for_each(|argument| data.extend_from_slice(&argument.to_le_bytes()));
        let (mut at, mut accumulator, mut steps) = (0_usize, 0_u32, 0);
        loop {
            let Instruction {
                code,
                jump_true,
                jump_false,
                value,
            } = program[at];
            at += 1;
            steps += 1;
            let jump = |holds: bool| usize::from(if holds { jump_true } else { jump_false });
            match code {
                0x20 => {
                    let place = value as usize;
                    assert!(
                        place.is_multiple_of(4),
                        "the kernel refuses loads that are not aligned"
                    );
                    accumulator =
                        u32::from_le_bytes(data[place..place + 4].try_into().expect("four bytes"));
                }
                0x54 => accumulator &= value,
                0x05 => at += value as usize,
                0x15 => at += jump(accumulator == value),
                0x35 => at += jump(accumulator >= value),
                0x45 => at += jump(accumulator & value != 0),
                0x06 => return (value, steps),
                other => panic!("an instruction that is never made: {other:#x}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_filter_can_jump_over_more_than_255_instructions() {
        // With so many entries, a conditional jump can't skip half of the tree.
        let entries: Vec<_> = (1..2000_u16)
            .map(|n| (u32::from(n) * 2, FilterEntry::Is(FilterVerdict::errno(n))))
            .collect();
        let program = program(7, &entries);
        assert_eq!(
            machine::run(&program, 7, 1, [0; 6]).0,
            FilterVerdict::ALLOW.0
        );
        for n in 1..2000_u16 {
            for number in [u32::from(n) * 2, u32::from(n) * 2 + 1] {
                assert_eq!(
                    machine::run(&program, 7, number, [0; 6]).0,
                    FilterVerdict::errno(n).0,
                    "{number}"
                );
            }
        }
        assert_eq!(
            machine::run(&program, 8, 2, [0; 6]).0,
            FilterVerdict::KILL.0
        );
    }

    proptest! {
        #[test]
        fn argument_checks_return_the_expected_verdict(first in any::<u64>(), pick in 0_usize..5) {
            const LOOKS: &[ArgumentTest] = &[
                ArgumentTest::AnyBit { argument: 1, bits: 0x10, then: FilterVerdict::errno(1) },
                ArgumentTest::Value { argument: 1, mask: 0xf, values: &[1, 2, 3], is_one: true, then: FilterVerdict::errno(2) },
                ArgumentTest::Value { argument: 1, mask: 0xff, values: &[4, 5, 0x84], is_one: false, then: FilterVerdict::errno(3) },
                ArgumentTest::Else(FilterVerdict::ALLOW),
            ];
            let argument = [first, 4, 0x11, 2, 0xffff_ffff_0000_0084][pick];
            let low = argument & 0xffff_ffff;
            let expected = if low & 0x10 != 0 { FilterVerdict::errno(1) }
                else if (1..=3).contains(&(low & 0xf)) { FilterVerdict::errno(2) }
                else if ![4, 5, 0x84].contains(&(low & 0xff)) { FilterVerdict::errno(3) }
                else { FilterVerdict::ALLOW };
            let program = program(7, &[(5, FilterEntry::Looks(LOOKS)), (6, FilterEntry::Is(FilterVerdict::ALLOW))]);
            prop_assert_eq!(machine::run(&program, 7, 5, [0, argument, 0, 0, 0, 0]).0, expected.0);
        }
    }
}
