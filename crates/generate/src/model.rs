//! The models, with what they cost in time and tokens.

use crate::random::Random;

/// One model.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    /// Of a call with an average answer, milliseconds.
    latency_ms: u32,
    output_tokens: u32,
    thoughts_tokens: u32,
    /// How many of a thousand prefer it on the first and on the last day.
    shares: (u32, u32),
}

/// Named as in the recordings.
pub(crate) const MODELS: [Model; 6] = [
    Model {
        name: "gemini-2.5-flash",
        latency_ms: 1_900,
        output_tokens: 110,
        thoughts_tokens: 90,
        shares: (420, 270),
    },
    Model {
        name: "gemini-2.5-pro",
        latency_ms: 6_200,
        output_tokens: 210,
        thoughts_tokens: 420,
        shares: (230, 120),
    },
    Model {
        name: "gemini-3-pro-preview",
        latency_ms: 8_400,
        output_tokens: 260,
        thoughts_tokens: 700,
        shares: (120, 190),
    },
    Model {
        name: "gemini-3.8-flash",
        latency_ms: 1_500,
        output_tokens: 130,
        thoughts_tokens: 120,
        shares: (110, 310),
    },
    Model { name: UTILITY_NAME, latency_ms: 900, output_tokens: 60, thoughts_tokens: 40, shares: (80, 70) },
    Model {
        name: "gemini-3.5-flash-lite",
        latency_ms: 550,
        output_tokens: 50,
        thoughts_tokens: 30,
        shares: (40, 40),
    },
];
const UTILITY_NAME: &str = "gemini-3-flash-preview";
/// The model of short checks.
pub(crate) const UTILITY: u8 = 4;
/// The model that routes and summarises.
pub(crate) const ROUTER: u8 = 5;
/// Where a quota that is used up leads to.
pub(crate) const FLASH: u8 = 0;
/// What sub-agents think with.
pub(crate) const SUBAGENT: u8 = 1;

/// What a call took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) duration_ms: u32,
    pub(crate) input: u32,
    pub(crate) output: u32,
    pub(crate) cached: u32,
    pub(crate) thoughts: u32,
}

/// The model that a user of such taste prefers on a day.
pub(crate) fn preferred(taste: u32, day: u32, days: u32) -> u8 {
    let mut left = taste;
    for (place, model) in (0..).zip(&MODELS) {
        let (first, last) = model.shares;
        let share = (first * (days - day) + last * day) / days.max(1);
        if left < share {
            return place;
        }
        left -= share;
    }
    FLASH
}

impl Model {
    /// What a call takes that sends so many tokens.
    pub(crate) fn usage(&self, random: &mut Random, input: u32) -> Usage {
        let output = random.skewed(self.output_tokens, 1.3).clamp(1, 65_000);
        let thoughts = random.skewed(self.thoughts_tokens, 1.4).min(32_000);
        let latency = random.skewed(self.latency_ms, 0.7);
        let longer = (output + thoughts) * 2 + input / 200;
        let cached = input / 100 * random.between(0, 92);
        Usage { duration_ms: (latency + longer).clamp(80, 290_000), input, output, cached, thoughts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tastes_drift_to_newer_models() {
        let users = |day, model| (0..1_000).filter(|taste| preferred(*taste, day, 30) == model).count();
        assert!(users(0, 3) < 150 && users(30, 3) > 250);
        assert_eq!((0..6).map(|model| users(0, model)).sum::<usize>(), 1_000);
    }

    #[test]
    fn better_models_take_longer() {
        let mean = |model: &Model| {
            let mut random = Random::new(3);
            (0..500).map(|_| u64::from(model.usage(&mut random, 9_000).duration_ms)).sum::<u64>() / 500
        };
        assert!(mean(&MODELS[1]) > 2 * mean(&MODELS[0]));
    }
}
