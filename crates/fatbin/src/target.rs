//! The GPUs that code is to run on.

use crate::{Architecture, Variant};
use std::fmt;
use std::str::FromStr;

/// GPUs by their architectures, and whether newer ones are to have a way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Ten times the major version plus the minor of each, ascending.
    gpus: Vec<u32>,
    /// Whether PTX stays that newer GPUs can compile.
    ptx: bool,
}

/// A target that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no GPU architecture; write sm_90, or sm_80,sm_90, with +ptx behind the last for newer GPUs"
)]
pub struct TargetError(String);

impl Target {
    /// What follows the list for newer GPUs.
    const PTX: &'static str = "+ptx";

    /// Ten times the major version plus the minor of each GPU, ascending.
    pub fn gpus(&self) -> &[u32] {
        &self.gpus
    }

    /// Whether PTX stays that newer GPUs can compile.
    pub fn has_way_up(&self) -> bool {
        self.ptx
    }

    /// Whether one of the GPUs runs machine code for `architecture`.
    pub fn runs(&self, architecture: Architecture) -> bool {
        self.gpus.iter().any(|gpu| runs(*gpu, architecture))
    }
}

/// Whether `gpu` runs machine code for `architecture`: what is made for it or for a lower minor
/// version of its major (CUDA C++ Programming Guide, "Binary Compatibility"), of `f` in the same
/// way, since a family is the later minors of a major, and of `a` only its own
/// (NVIDIA's "Family-Specific Architecture Features").
pub(crate) fn runs(gpu: u32, architecture: Architecture) -> bool {
    match architecture.variant {
        Variant::General | Variant::Family => {
            architecture.sm / 10 == gpu / 10 && architecture.sm <= gpu
        }
        Variant::Specific => architecture.sm == gpu,
    }
}

/// Whether a driver can compile PTX for `architecture` for `gpu`: any that is not newer
/// (CUDA C++ Programming Guide, "PTX Compatibility"); of `f` and `a` what [`runs`].
pub(crate) fn compiles(gpu: u32, architecture: Architecture) -> bool {
    match architecture.variant {
        Variant::General => architecture.sm <= gpu,
        Variant::Family | Variant::Specific => runs(gpu, architecture),
    }
}

impl FromStr for Target {
    type Err = TargetError;

    /// `sm_90`, `sm_80,sm_90`, `sm_90+ptx`. A suffix as in `sm_90a` says what code is, not which
    /// GPU it runs on; it is taken for that GPU.
    fn from_str(text: &str) -> Result<Self, TargetError> {
        let (list, ptx) = match text.strip_suffix(Self::PTX) {
            Some(list) => (list, true),
            None => (text, false),
        };
        let gpu = |name: &str| {
            let digits = name.trim().strip_prefix("sm_")?;
            let digits = digits.strip_suffix(['a', 'f']).unwrap_or(digits);
            let fits = (2..=3).contains(&digits.len()) && !digits.starts_with('0');
            let digits =
                Some(digits).filter(|digits| digits.bytes().all(|one| one.is_ascii_digit()));
            digits?.parse().ok().filter(|_| fits)
        };
        let each = list.split(',').map(|name| gpu(name).ok_or_else(|| TargetError(name.into())));
        let mut gpus = each.collect::<Result<Vec<u32>, _>>()?;
        gpus.sort_unstable();
        gpus.dedup();
        Ok(Self { gpus, ptx })
    }
}

/// In one form, whatever was typed.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, gpu) in self.gpus.iter().enumerate() {
            write!(f, "{}sm_{gpu}", if place == 0 { "" } else { "," })?;
        }
        f.write_str(if self.ptx { Self::PTX } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Variant::{Family, General, Specific};

    #[test]
    fn a_target_has_one_form() {
        let shown = |text: &str| text.parse::<Target>().map(|target| target.to_string());
        assert_eq!(shown("sm_90").unwrap(), "sm_90");
        assert_eq!(shown("sm_90a").unwrap(), "sm_90");
        assert_eq!(shown("sm_90, sm_80,sm_90+ptx").unwrap(), "sm_80,sm_90+ptx");
        assert_eq!(shown("sm_121f").unwrap(), "sm_121");
        for wrong in
            ["", "sm_", "90", "sm_9", "sm_09", "sm_1000", "sm_90,", "sm_9x", "gfx90a", "+ptx"]
        {
            let error = shown(wrong).unwrap_err().to_string();
            assert!(error.contains("write sm_90"), "{error}");
        }
    }

    /// What machine code runs where, by NVIDIA's tables.
    #[test]
    fn code_runs_on_its_gpu_and_on_later_minors_of_its_major() {
        const GPUS: [u32; 17] =
            [70, 72, 75, 80, 86, 87, 88, 89, 90, 100, 101, 103, 110, 120, 121, 130, 60];
        let on = |sm: u32, variant: Variant| -> Vec<u32> {
            let code = Architecture { sm, variant };
            let mut gpus: Vec<u32> = GPUS.into_iter().filter(|gpu| runs(*gpu, code)).collect();
            gpus.sort_unstable();
            gpus
        };
        assert_eq!(on(70, General), [70, 72, 75]);
        assert_eq!(on(75, General), [75]);
        assert_eq!(on(80, General), [80, 86, 87, 88, 89]);
        assert_eq!(on(86, General), [86, 87, 88, 89]);
        assert_eq!(on(89, General), [89]);
        assert_eq!(on(90, General), [90]);
        assert_eq!(on(90, Specific), [90]);
        assert_eq!(on(100, General), [100, 101, 103]);
        assert_eq!(on(100, Specific), [100]);
        assert_eq!(on(100, Family), [100, 101, 103]);
        assert_eq!(on(103, Family), [103]);
        assert_eq!(on(110, Family), [110]);
        assert_eq!(on(120, Family), [120, 121]);
        assert_eq!(on(121, Family), [121]);
        let ptx = |sm, variant, gpu| compiles(gpu, Architecture { sm, variant });
        assert!(ptx(75, General, 90) && ptx(90, General, 90) && !ptx(100, General, 90));
        assert!(ptx(90, Specific, 90) && !ptx(90, Specific, 100));
        assert!(ptx(100, Family, 103) && !ptx(100, Family, 120));
    }
}
