//! What can go wrong, how likely each of it is in one world, and how often it did.
//!
//! Decides the swarm: every seed leaves out about a quarter of the kinds, and none, some or much of each other kind happens.

use super::dice::Dice;

macro_rules! kinds {
    ($($kind:ident $name:literal $most:literal,)*) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($kind,)* }

        impl Kind {
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// The highest odds, in thousandths of its occasions.
            fn most(self) -> i64 {
                match self { $(Self::$kind => $most,)* }
            }
        }
    };
}

kinds! {
    // Between gateway and station, for each transmission.
    LostCommand "lost-command" 400,
    LateCommand "late-command" 250,
    DoubledCommand "doubled-command" 250,
    Refusal "refusal" 300,
    // Of what is sent again: who has it already may say no to it.
    RefusedRetry "refused-retry" 700,
    // Of what is under way at a hello.
    HelloOnTheWay "hello-on-the-way" 1000,
    // From the station, for each answer.
    LostAnswer "lost-answer" 400,
    LateAnswer "late-answer" 400,
    DoubledAnswer "doubled-answer" 500,
    // Of each reading.
    LostReading "lost-reading" 700,
    LateReading "late-reading" 500,
    // Of each piece of news from the back end.
    LateNews "late-news" 400,
    UnansweredCall "unanswered-call" 400,
    // In each second, at each station.
    StationRestart "station-restart" 3,
    CarSwap "car-swap" 4,
    Disobedience "disobedience" 1,
    // In each second.
    LinkBreak "link-break" 12,
    GatewayChange "gateway-change" 6,
    ClockStep "clock-step" 10,
    Cut "cut" 12,
    Redescription "redescription" 5,
    ChangedMind "changed-mind" 60,
    Crash "crash" 4,
    Amnesia "amnesia" 1,
    // At each append.
    CrashWhileWriting "crash-while-writing" 8,
    TornWrite "torn-write" 500,
    FailedAppend "failed-append" 10,
    // At each start.
    DamagedSnapshot "damaged-snapshot" 300,
    // Of each search.
    SlowSearch "slow-search" 300,
    EndlessSearch "endless-search" 100,
    BrokenSearch "broken-search" 50,
}

pub const KINDS: usize = Kind::ALL.len();

/// A set of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u64);

impl Kinds {
    pub const NONE: Self = Self(0);

    pub const fn with(self, kind: Kind) -> Self {
        Self(self.0 | 1 << kind as u64)
    }

    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub const fn has(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u64) != 0
    }

    pub fn names(self) -> Vec<&'static str> {
        let kinds = Kind::ALL.iter().filter(|kind| self.has(**kind));
        kinds.map(|kind| kind.name()).collect()
    }

    /// The kinds of a list with commas.
    pub fn parse(list: &str) -> Self {
        let named = |name: &str| Kind::ALL.iter().copied().find(|kind| kind.name() == name);
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.fold(Self::NONE, |all, name| {
            all.with(named(name).unwrap_or_else(|| panic!("{name} is no kind of fault")))
        })
    }
}

/// Counts by kind.
#[derive(Clone, Debug)]
pub struct Counts([u64; KINDS]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; KINDS])
    }
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        for (all, more) in self.0.iter_mut().zip(other.0) {
            *all += more;
        }
    }

    pub fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// The faults of one world.
#[derive(Clone, Debug)]
pub struct Faults {
    odds: [i64; KINDS],
    without: Kinds,
    over: bool,
    pub counts: Counts,
}

impl Faults {
    pub fn new(dice: &mut Dice, without: Kinds) -> Self {
        let mut odds = [0; KINDS];
        for kind in Kind::ALL {
            let most = kind.most();
            odds[*kind as usize] = match dice.roll(0, 7) {
                0 | 1 => 0,
                2 | 3 => most,
                _ => dice.roll(1, most.max(2)).min(most),
            };
        }
        // A gateway that fences says what it has applied; what another applied before it, only the store knows. So no world loses
        // both.
        let spared = *dice.pick(&[Kind::Amnesia, Kind::GatewayChange]);
        odds[spared as usize] = 0;
        Self {
            odds,
            without,
            over: false,
            counts: Counts::default(),
        }
    }

    /// Whether this world has faults of that kind at all.
    pub fn may(&self, kind: Kind) -> bool {
        self.odds[kind as usize] > 0 && !self.without.has(kind)
    }

    /// Rolls the dice in any case, so that what is left out changes nothing else.
    pub fn strikes(&mut self, kind: Kind, dice: &mut Dice) -> bool {
        let struck = dice.happens(self.odds[kind as usize]) && !self.over && !self.without.has(kind);
        self.counts.0[kind as usize] += u64::from(struck);
        struck
    }

    /// Nothing goes wrong from here on.
    pub fn end(&mut self) {
        self.over = true;
    }
}
