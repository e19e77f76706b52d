"""The classes of the published datasets, in label order; they are written here and nowhere else."""

# ARID, Xu et al., arXiv:2006.03876, section 3: the eleven classes.
ARID11 = (
    "Drink", "Jump", "Pick", "Pour", "Push", "Run", "Sit", "Stand", "Turn", "Walk", "Wave",
)  # fmt: skip
# InfAR, Gao et al., Neurocomputing 212 (2016): the twelve classes, as its folders spell them. XD145
# has the same. Code that was published counts them in other orders; this one is alphabetical.
INFAR12 = (
    "fight", "handclapping", "handshake", "hug", "jog", "jump",
    "punch", "push", "skip", "walk", "wave1", "wave2",
)  # fmt: skip
# UCF101, Soomro et al., arXiv:1212.0402: classInd.txt (capitals do not count in its order).
UCF101 = (
    "ApplyEyeMakeup", "ApplyLipstick", "Archery", "BabyCrawling", "BalanceBeam", "BandMarching",
    "BaseballPitch", "Basketball", "BasketballDunk", "BenchPress", "Biking", "Billiards",
    "BlowDryHair", "BlowingCandles", "BodyWeightSquats", "Bowling", "BoxingPunchingBag",
    "BoxingSpeedBag", "BreastStroke", "BrushingTeeth", "CleanAndJerk", "CliffDiving",
    "CricketBowling", "CricketShot", "CuttingInKitchen", "Diving", "Drumming", "Fencing",
    "FieldHockeyPenalty", "FloorGymnastics", "FrisbeeCatch", "FrontCrawl", "GolfSwing", "Haircut",
    "Hammering", "HammerThrow", "HandstandPushups", "HandstandWalking", "HeadMassage", "HighJump",
    "HorseRace", "HorseRiding", "HulaHoop", "IceDancing", "JavelinThrow", "JugglingBalls",
    "JumpingJack", "JumpRope", "Kayaking", "Knitting", "LongJump", "Lunges", "MilitaryParade",
    "Mixing", "MoppingFloor", "Nunchucks", "ParallelBars", "PizzaTossing", "PlayingCello",
    "PlayingDaf", "PlayingDhol", "PlayingFlute", "PlayingGuitar", "PlayingPiano", "PlayingSitar",
    "PlayingTabla", "PlayingViolin", "PoleVault", "PommelHorse", "PullUps", "Punch", "PushUps",
    "Rafting", "RockClimbingIndoor", "RopeClimbing", "Rowing", "SalsaSpin", "ShavingBeard",
    "Shotput", "SkateBoarding", "Skiing", "Skijet", "SkyDiving", "SoccerJuggling", "SoccerPenalty",
    "StillRings", "SumoWrestling", "Surfing", "Swing", "TableTennisShot", "TaiChi", "TennisSwing",
    "ThrowDiscus", "TrampolineJumping", "Typing", "UnevenBars", "VolleyballSpiking",
    "WalkingWithDog", "WallPushups", "WritingOnBoard", "YoYo",
)  # fmt: skip
# HMDB51, Kuehne et al., ICCV 2011: the names of its folders, in alphabetical order.
HMDB51 = (
    "brush_hair", "cartwheel", "catch", "chew", "clap", "climb", "climb_stairs", "dive",
    "draw_sword", "dribble", "drink", "eat", "fall_floor", "fencing", "flic_flac", "golf",
    "handstand", "hit", "hug", "jump", "kick", "kick_ball", "kiss", "laugh", "pick", "pour",
    "pullup", "punch", "push", "pushup", "ride_bike", "ride_horse", "run", "shake_hands",
    "shoot_ball", "shoot_bow", "shoot_gun", "sit", "situp", "smile", "smoke", "somersault", "stand",
    "swing_baseball", "sword", "sword_exercise", "talk", "throw", "turn", "walk", "wave",
)  # fmt: skip
# Dark-48: annotations/classInd.txt of github.com/yzfly/Dark48.
DARK48 = (
    "adult_female_singing", "adult_male_singing", "adult_male_speaking", "applauding", "ascending",
    "balancing", "bouncing", "breathing_fire", "bubbling", "burning", "cheering", "child_singing",
    "clapping", "combusting", "coughing", "dancing", "descending", "driving", "dropping",
    "drumming", "erupting", "floating", "headbanging", "juggling", "juggling_fire", "karaoke",
    "performing", "playing", "playing_laser_tag", "playing_music", "playing_videogames", "raining",
    "riding_mechanical_bull", "rising", "rocking", "shooting_off_fireworks", "shouting",
    "silent_disco", "singing", "smoking", "spelunking", "spilling", "spinning", "spinning_poi",
    "storming", "talking", "turning", "whistling",
)  # fmt: skip
# UAV-Human, Li et al., CVPR 2021: actions are numbered in the files' names.
UAVHUMAN155 = tuple(f"A{number:03d}" for number in range(155))
