//! A small machine that runs the instructions that a writer added to a library.
//!
//! It knows the few that such code needs, in 64-bit mode, on words of eight bytes in memory;
//! anything else stops it.

use crate::instruction::{Operand, Step};
use iced_x86::Mnemonic;
use std::ops::Range;

/// What a machine reads and writes; addresses are those of the process.
pub(crate) trait Memory {
    /// The word at an address.
    fn word(&self, address: u64) -> Option<u64>;
    /// Replaces it.
    fn set_word(&mut self, address: u64, value: u64) -> Option<()>;
    /// The instructions from an address on.
    fn code(&self, address: u64) -> Option<&[u8]>;
}

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// To whoever called.
    Return,
    /// To code that is not its own, in place of a return.
    Jump(u64),
}

/// The numbers of registers, as instructions encode them.
pub(crate) mod register {
    pub const RAX: usize = 0;
    pub const RCX: usize = 1;
    pub const RDX: usize = 2;
    pub const RSP: usize = 4;
    pub const RSI: usize = 6;
    pub const RDI: usize = 7;
}

/// Registers that a function may change (psABI for x86-64, 3.2.3).
const SCRATCH: [usize; 9] = [0, 1, 2, 6, 7, 8, 9, 10, 11];

/// Where the stack is, how many words it has, and which is the first that is in use: as a call
/// leaves it, eight bytes past a multiple of sixteen.
const STACK: u64 = 0x7fff_0000_0000;
const WORDS: usize = 64;
const TOP: usize = 47;

/// The address that a run returns to.
const CALLER: u64 = 0x1234_5678_9abc;

/// Steps for each byte of instructions and tables. A byte of a table has eight bits, each of
/// which is a few steps.
const STEPS: u64 = 80;

/// Bytes of instructions; tables may follow.
const LONGEST: u64 = 4096;

/// A machine.
pub(crate) struct Machine<'m, M> {
    memory: &'m mut M,
    code: Range<u64>,
    registers: [u64; 16],
    stack: [u64; WORDS],
    carry: bool,
    zero: bool,
    decoded: Vec<Option<Step>>,
}

impl<'m, M: Memory> Machine<'m, M> {
    /// One that may run the instructions at the addresses `code`.
    pub fn new(memory: &'m mut M, code: Range<u64>) -> Self {
        let mut registers = [0; 16];
        for (number, register) in (1..).zip(&mut registers) {
            *register = Self::initial(number);
        }
        registers[register::RSP] = STACK + 8 * TOP as u64;
        let mut stack = [0; WORDS];
        stack[TOP] = CALLER;
        let length = (code.end - code.start).min(LONGEST) as usize;
        let decoded = vec![None; length];
        Self { memory, code, registers, stack, carry: false, zero: false, decoded }
    }

    /// What a register, counted from one, holds at first: no address of anything.
    fn initial(number: u64) -> u64 {
        number.wrapping_mul(0x1111_0000_0001_1101)
    }

    /// What the run returned.
    pub fn result(&self) -> u64 {
        self.registers[register::RAX]
    }

    /// What is in the registers.
    pub fn registers(&self) -> &[u64; 16] {
        &self.registers
    }

    /// Whether the registers for the first three arguments hold what they held at first.
    pub fn hands_on(&self) -> bool {
        let same = |one: usize| self.registers[one] == Self::initial(one as u64 + 1);
        [register::RDI, register::RSI, register::RDX].into_iter().all(same)
    }

    /// Runs from an address on, and tells `called` of each call of code that is not its own:
    /// the address, and the registers. `None` where an instruction is not known, memory is not
    /// there, or a rule for calls is broken: the stack's alignment, registers that a function has
    /// to leave as they were.
    pub fn run(&mut self, start: u64, called: &mut dyn FnMut(u64, &[u64; 16])) -> Option<Exit> {
        let saved = self.registers;
        let mut at = start;
        for _ in 0..STEPS.saturating_mul(self.code.end - self.code.start) {
            if !self.code.contains(&at) {
                let kept = (0..16).all(|one| {
                    SCRATCH.contains(&one)
                        || one == register::RSP
                        || self.registers[one] == saved[one]
                });
                let depth = self.registers[register::RSP].wrapping_sub(STACK + 8 * TOP as u64);
                return match depth {
                    8 if kept && at == CALLER => Some(Exit::Return),
                    0 if kept && self.stack[TOP] == CALLER => Some(Exit::Jump(at)),
                    _ => None,
                };
            }
            let step = self.step(at)?;
            at = match step.what {
                Mnemonic::Call => self.call(&step, called)?,
                _ => self.execute(&step)?,
            };
        }
        None
    }

    fn call(&mut self, step: &Step, called: &mut dyn FnMut(u64, &[u64; 16])) -> Option<u64> {
        let target = self.value(step.left)?;
        if self.code.contains(&target) {
            self.push(step.next)?;
            return Some(target);
        }
        if !self.registers[register::RSP].is_multiple_of(16) {
            return None;
        }
        called(target, &self.registers);
        for one in SCRATCH {
            self.registers[one] = Self::initial(100 + one as u64);
        }
        // What it left there is no concern of the caller.
        let below = place(self.registers[register::RSP])?;
        self.stack[..below].fill(0);
        Some(step.next)
    }

    fn execute(&mut self, step: &Step) -> Option<u64> {
        let Step { what, left, right, next } = *step;
        match what {
            Mnemonic::Mov => {
                let value = self.value(right)?;
                self.set(left, value)?;
            }
            Mnemonic::Lea => {
                let address = self.address(right)?;
                self.set(left, address)?;
            }
            Mnemonic::Push => {
                let value = self.value(left)?;
                self.push(value)?;
            }
            Mnemonic::Pop => {
                let value = self.pop()?;
                self.set(left, value)?;
            }
            Mnemonic::Ret => return self.pop(),
            Mnemonic::Jmp => return self.value(left),
            Mnemonic::Je if self.zero => return self.value(left),
            Mnemonic::Jne if !self.zero => return self.value(left),
            Mnemonic::Jae if !self.carry => return self.value(left),
            Mnemonic::Endbr64 | Mnemonic::Nop | Mnemonic::Je | Mnemonic::Jne | Mnemonic::Jae => {}
            _ => self.compute(what, left, right)?,
        }
        Some(next)
    }

    fn compute(&mut self, what: Mnemonic, left: Operand, right: Operand) -> Option<()> {
        let narrow = matches!(left, Operand::Register(_, true));
        let mask = if narrow { u64::from(u32::MAX) } else { u64::MAX };
        let (a, b) = (self.value(left)?, self.value(right)? & mask);
        let (value, carry) = match what {
            Mnemonic::Add => (a.wrapping_add(b) & mask, (a.wrapping_add(b) & mask) < a),
            Mnemonic::Sub | Mnemonic::Cmp => (a.wrapping_sub(b) & mask, a < b),
            Mnemonic::And | Mnemonic::Test => (a & b, false),
            Mnemonic::Xor => (a ^ b, false),
            Mnemonic::Shr if b == 1 => (a >> 1, a & 1 != 0),
            _ => return None,
        };
        (self.carry, self.zero) = (carry, value == 0);
        match what {
            Mnemonic::Cmp | Mnemonic::Test => Some(()),
            _ => self.set(left, value),
        }
    }

    fn address(&self, operand: Operand) -> Option<u64> {
        let Operand::Memory(base, index, scale, displacement) = operand else { return None };
        let register = |one: Option<usize>| one.map_or(0, |one| self.registers[one]);
        let index = register(index).wrapping_mul(scale);
        Some(register(base).wrapping_add(index).wrapping_add(displacement))
    }

    fn value(&self, operand: Operand) -> Option<u64> {
        match operand {
            Operand::None => None,
            Operand::Number(number) => Some(number),
            Operand::Register(one, false) => Some(self.registers[one]),
            Operand::Register(one, true) => Some(self.registers[one] & u64::from(u32::MAX)),
            Operand::Memory(..) => {
                let address = self.address(operand)?;
                match place(address) {
                    Some(at) => self.stack.get(at).copied(),
                    None => self.memory.word(address),
                }
            }
        }
    }

    fn set(&mut self, operand: Operand, value: u64) -> Option<()> {
        match operand {
            Operand::Register(one, narrow) => {
                self.registers[one] = if narrow { value & u64::from(u32::MAX) } else { value };
                Some(())
            }
            Operand::Memory(..) => {
                let address = self.address(operand)?;
                self.memory.set_word(address, value)
            }
            _ => None,
        }
    }

    fn push(&mut self, value: u64) -> Option<()> {
        self.registers[register::RSP] = self.registers[register::RSP].wrapping_sub(8);
        let at = place(self.registers[register::RSP])?;
        self.stack[at] = value;
        Some(())
    }

    fn pop(&mut self) -> Option<u64> {
        let at = place(self.registers[register::RSP])?;
        self.registers[register::RSP] += 8;
        Some(self.stack[at])
    }

    /// The instruction at an address, decoded once.
    fn step(&mut self, at: u64) -> Option<Step> {
        let index = (at - self.code.start) as usize;
        if let Some(step) = *self.decoded.get(index)? {
            return Some(step);
        }
        let bytes = self.memory.code(at)?;
        let step = Step::decode(bytes, at)?;
        self.decoded[index] = Some(step);
        Some(step)
    }
}

/// The number of the stack's word at an address.
fn place(address: u64) -> Option<usize> {
    let at = address.checked_sub(STACK).filter(|at| at.is_multiple_of(8))? / 8;
    usize::try_from(at).ok().filter(|at| *at < WORDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Flat {
        code: Vec<u8>,
        words: [u64; 2],
    }

    impl Memory for Flat {
        fn word(&self, address: u64) -> Option<u64> {
            self.words.get(usize::try_from(address).ok()? / 8).copied()
        }
        fn set_word(&mut self, address: u64, value: u64) -> Option<()> {
            *self.words.get_mut(usize::try_from(address).ok()? / 8)? = value;
            Some(())
        }
        fn code(&self, address: u64) -> Option<&[u8]> {
            self.code.get(usize::try_from(address.checked_sub(0x1000)?).ok()?..)
        }
    }

    fn run(code: &[u8]) -> (Option<Exit>, u64, [u64; 2], Vec<u64>) {
        let mut memory = Flat { code: code.to_vec(), words: [5, 7] };
        let mut calls = Vec::new();
        let mut machine = Machine::new(&mut memory, 0x1000..0x1000 + code.len() as u64);
        let exit = machine.run(0x1000, &mut |target, _| calls.push(target));
        let result = machine.result();
        (exit, result, memory.words, calls)
    }

    #[test]
    fn what_compilers_of_such_code_emit_is_run() {
        // mov rax, [8]; add [0], rax; xor ecx, ecx; ret
        let add = [
            0x48, 0x8b, 0x04, 0x25, 8, 0, 0, 0, 0x48, 0x01, 0x04, 0x25, 0, 0, 0, 0, 0x31, 0xc9,
            0xc3,
        ];
        assert_eq!(run(&add), (Some(Exit::Return), 7, [12, 7], vec![]));
        // sub rsp, 8; call +0x100; add rsp, 8; jmp +0x200
        let calls = [0x48, 0x83, 0xec, 8, 0xe8, 0, 1, 0, 0, 0x48, 0x83, 0xc4, 8, 0xe9, 0, 2, 0, 0];
        let (exit, _, _, called) = run(&calls);
        assert_eq!((exit, called), (Some(Exit::Jump(0x1212)), vec![0x1109]));
    }

    #[test]
    fn what_breaks_a_rule_is_refused() {
        // A call with the stack as it was; a register that is not given back; a stack that is
        // not; memory that is not there; an endless loop; an instruction that is not known.
        let wrong: [&[u8]; 6] = [
            &[0xe8, 0, 1, 0, 0, 0xc3],
            &[0x48, 0x31, 0xdb, 0xc3],
            &[0x58, 0xc3],
            &[0x48, 0x8b, 0x04, 0x25, 0, 0x10, 0, 0, 0xc3],
            &[0xeb, 0xfe],
            &[0x0f, 0xa2, 0xc3],
        ];
        for code in wrong {
            assert_eq!(run(code).0, None, "{code:x?}");
        }
    }
}
