//! Instructions, as far as the machine knows them.

use iced_x86::{Decoder, DecoderOptions, Instruction, MemorySize, Mnemonic, OpKind, Register};

/// Bytes of the longest instruction.
const LONGEST: usize = 15;

/// What an instruction works on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operand {
    None,
    Number(u64),
    /// A register, and whether it is the lower half.
    Register(usize, bool),
    /// Base and index, each if there is one, the index's factor, and a displacement.
    Memory(Option<usize>, Option<usize>, u64, u64),
}

/// An instruction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub what: Mnemonic,
    pub left: Operand,
    pub right: Operand,
    /// The address of the next instruction.
    pub next: u64,
}

impl Step {
    /// Decodes the first of `bytes`, which are at an address.
    pub fn decode(bytes: &[u8], at: u64) -> Option<Self> {
        let bytes = &bytes[..bytes.len().min(LONGEST)];
        decoded(&Decoder::with_ip(64, bytes, at, DecoderOptions::NONE).decode())
    }
}

fn decoded(one: &Instruction) -> Option<Step> {
    let prefixed = one.has_lock_prefix() || one.has_rep_prefix() || one.has_repne_prefix();
    if one.is_invalid() || prefixed || one.op_count() > 2 {
        return None;
    }
    let operand = |number: u32| -> Option<Operand> {
        if number >= one.op_count() {
            return Some(Operand::None);
        }
        match one.op_kind(number) {
            OpKind::Register => {
                let (number, narrow) = numbered(one.op_register(number))?;
                Some(Operand::Register(number, narrow))
            }
            OpKind::NearBranch64 => Some(Operand::Number(one.near_branch64())),
            OpKind::Memory => memory(one),
            _ => one.try_immediate(number).ok().map(Operand::Number),
        }
    };
    let (left, right) = (operand(0)?, operand(1)?);
    Some(Step { what: one.mnemonic(), left, right, next: one.next_ip() })
}

fn memory(one: &Instruction) -> Option<Operand> {
    let whole = matches!(
        one.memory_size(),
        MemorySize::UInt64 | MemorySize::Int64 | MemorySize::QwordOffset
    );
    if !(whole || one.mnemonic() == Mnemonic::Lea) || one.segment_prefix() != Register::None {
        return None;
    }
    if one.is_ip_rel_memory_operand() {
        return Some(Operand::Memory(None, None, 1, one.ip_rel_memory_address()));
    }
    let register = |one: Register| match one {
        Register::None => Some(None),
        one => numbered(one).filter(|(_, narrow)| !narrow).map(|(number, _)| Some(number)),
    };
    let (base, index) = (register(one.memory_base())?, register(one.memory_index())?);
    let scale = u64::from(one.memory_index_scale());
    Some(Operand::Memory(base, index, scale, one.memory_displacement64()))
}

/// The number of a register, and whether its lower half is meant.
fn numbered(register: Register) -> Option<(usize, bool)> {
    let from = |first: Register| (register as usize).checked_sub(first as usize);
    let number = |first: Register| from(first).filter(|number| *number < 16);
    number(Register::RAX)
        .map(|number| (number, false))
        .or_else(|| number(Register::EAX).map(|number| (number, true)))
}
