"""The publisher's vocabulary: 14 categories of 3 subcategories, each with its people, things and doings.

Every subcategory is one block: its name, then actors | things | acts. Things are singular, so that any sentence agrees.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """One subcategory and the words that reveal it."""

    category: str
    subcategory: str
    actors: tuple[str, ...]
    things: tuple[str, ...]
    acts: tuple[str, ...]


_TEXT = """
sports/football
striker;goalkeeper;club captain;midfielder;football manager;centre back
penalty shootout;offside rule;transfer window;relegation battle;league title race;cup semifinal;midfield press;hat-trick
scores a stoppage time winner;saves two penalties;signs a record transfer;lifts the cup;heads home an equaliser
sports/tennis
top seed;wildcard teenager;doubles pair;grand slam champion;left-handed server;tennis umpire
tiebreak;clay court season;backhand;second serve;grand slam draw;grass court final;baseline rally;match point
wins in straight sets;breaks serve twice;saves three match points;reaches the quarterfinals;double faults under pressure
sports/basketball
point guard;rookie centre;sixth man;basketball coach;power forward;league MVP
three-point line;buzzer beater;playoff series;free throw;fast break;salary cap;slam dunk;NBA draft
hits a buzzer beater;grabs twenty rebounds;sinks nine three-pointers;forces overtime;posts a triple-double
health/nutrition
dietitian;nutritionist;food scientist;vegan athlete;diet researcher;caterer
Mediterranean diet;vitamin D supplement;added sugar;dietary fibre;gut microbiome;plant protein;salt;calorie count
cuts added sugar;swaps meat for lentils;studies vitamin deficiency;warns of ultra-processed food;recommends more fibre
health/fitness
gym trainer;runner;yoga teacher;gym owner;physiotherapist;weightlifter
workout;strength training;resting heart rate;running shoe;core exercise;step count;knee injury;stretching routine
runs a first marathon;doubles a deadlift;teaches squats to beginners;recovers from a hamstring tear;swears by burpees
health/mental_health
psychologist;therapist;psychiatrist;counsellor;burnout survivor;sleep researcher
anxiety disorder;talking therapy;depression screening;burnout;mindfulness course;panic attack;loneliness study;grief
opens up about depression;treats anxiety without pills;explains panic attacks;studies loneliness;offers free therapy
technology/smartphones
phone maker;gadget reviewer;app designer;handset engineer;mobile carrier;smartphone collector
foldable screen;phone battery;camera sensor;fingerprint reader;Android update;iPhone launch;wireless charger;app store
unveils a foldable phone;doubles battery life;leaks the new handset;drops the headphone jack;tests ten phone cameras
technology/artificial_intelligence
machine learning researcher;chatbot;robotics lab;AI start-up;data scientist;language model
neural network;chatbot assistant;training data set;image generator;algorithmic bias;AI regulation;deepfake;robot arm
trains a language model;beats humans at reasoning;generates convincing images;automates offices;releases an AI model
technology/cybersecurity
hacker;security researcher;ransomware gang;password expert;cyber agency;penetration tester
data breach;ransomware attack;password manager;phishing email;zero-day flaw;encryption key;firewall;malware strain
steals passwords;patches a critical flaw;locks hospital computers;traces a phishing ring;cracks the encryption
finance/stock_markets
hedge fund;stock trader;bank analyst;bond investor;central banker;brokerage
stock rally;bond yield;share buyback;earnings report;interest rate;Dow index;market sell-off;initial public offering
dumps tech shares;bets against bonds;beats earnings forecasts;raises interest rates;warns of a market correction
finance/personal_finance
financial adviser;pensioner;debt counsellor;young saver;tax accountant;credit union
pension pot;credit card debt;emergency fund;tax return;savings account;household budget;student loan;retirement plan
pays off credit cards;saves half a salary;retires at forty;claims a tax refund;switches savings accounts
finance/housing
first-time buyer;landlord;estate agent;tenant;mortgage lender;home builder
mortgage rate;house price;rent increase;property tax;housing shortage;starter home;eviction notice;bidding war
buys a first apartment;raises the rent;outbids twenty families;builds affordable homes;refuses a mortgage
politics/elections
candidate;campaign manager;pollster;swing voter;party leader;challenger
opinion poll;ballot paper;primary debate;swing state;voter turnout;campaign rally;mail-in vote;exit poll
leads the polls;concedes defeat;launches a presidential campaign;wins the primary;demands a recount
politics/congress
senator;speaker of the house;committee chair;lobbyist;lawmaker;minority leader
budget bill;filibuster;government shutdown;senate hearing;infrastructure bill;subpoena;bipartisan deal;tax reform
blocks the budget bill;votes to end the shutdown;grills ministers at a hearing;passes tax reform;drafts a lobbying law
politics/diplomacy
foreign minister;ambassador;peace envoy;UN secretary;trade negotiator;head of state
peace treaty;trade tariff;economic sanction;border dispute;nuclear deal;refugee summit;embassy row;ceasefire
signs a peace treaty;recalls the ambassador;imposes sanctions;brokers a ceasefire;hosts a summit of world leaders
science/space
astronaut;rocket engineer;space telescope;Mars rover;astronomer;lunar lander
black hole;Mars mission;space station;exoplanet;rocket launch;moon landing;asteroid;distant galaxy
lands on the moon;spots a distant galaxy;launches a reusable rocket;orbits Jupiter;photographs a black hole
science/climate
climate scientist;glaciologist;carbon trader;ocean researcher;coral biologist;emissions watchdog
emission target;melting glacier;coral reef;sea level rise;greenhouse gas;rainforest loss;methane leak;ocean warming
measures melting ice;warns of rising seas;plants a million trees;tracks methane from orbit;restores a coral reef
science/archaeology
archaeologist;fossil hunter;museum curator;palaeontologist;treasure diver;excavation team
Roman villa;dinosaur skeleton;Bronze Age tomb;ancient manuscript;buried temple;fossil footprint;Viking ship;mummy
unearths a Roman mosaic;digs up dinosaur bones;opens a sealed tomb;deciphers ancient script;raises a sunken warship
entertainment/film
film director;Hollywood actor;screenwriter;box office hit;stunt double;movie critic
box office;Oscar nomination;movie sequel;film festival;superhero film;screenplay;film trailer;horror movie
wins best director;tops the box office;joins the superhero sequel;opens the film festival;remakes a horror classic
entertainment/music
singer;rock band;rapper;drummer;pop star;record producer
debut album;world tour;guitar solo;hit single;music festival;Grammy award;vinyl record;concert ticket
releases a surprise album;sells out the stadium tour;tops the singles chart;cancels the concert;reunites with the band
entertainment/television
showrunner;sitcom star;talk show host;reality contestant;soap opera veteran;streaming service
season finale;sitcom reboot;reality show;TV drama pilot;streaming series;Emmy award;late-night show;plot twist
cancels the sitcom;stuns viewers in the finale;renews the drama for a fourth season;hosts the Emmys;quits the soap opera
food/baking
pastry chef;village baker;sourdough fan;cake decorator;cookbook author;baking contestant
sourdough starter;chocolate cake;puff pastry;banana bread recipe;cookie dough;wedding cake;cinnamon roll;bread oven
bakes sourdough before dawn;perfects the croissant;shares a brownie recipe;wins the baking contest;rescues a sponge
food/restaurants
head chef;restaurant owner;waiter;food critic;sushi master;street food vendor
Michelin star;tasting menu;open kitchen;pizza parlour;burger joint;restaurant review;ramen bar;brunch spot
earns a Michelin star;opens a ramen bar;scraps tipping;serves a ten-course menu;reinvents the burger
food/drinks
winemaker;barista;craft brewer;sommelier;distillery;bartender
Pinot Noir;espresso machine;craft beer;whisky cask;cocktail recipe;vineyard harvest;coffee bean;champagne bottle
bottles a rare whisky;pours the perfect espresso;brews a sour beer;harvests grapes early;mixes a new martini
travel/beaches
island hopper;resort manager;lifeguard;surfer;snorkelling guide;cruise passenger
white sand beach;island resort;cruise ship;coral lagoon;beach hut;all-inclusive holiday;surf spot;ferry crossing
finds an empty beach;sails around the islands;opens a seaside resort;surfs the giant swell;snorkels with turtles
travel/city_breaks
tour guide;hotel concierge;museum visitor;weekend tourist;backpacker;travel blogger
old town walk;boutique hotel;rooftop bar;cathedral tour;weekend getaway;night train;tourist tax;hostel
visits Lisbon on a budget;queues for the Louvre;sleeps in a capsule hotel;tours Prague by tram;skips the tourist traps
travel/outdoors
hiker;mountain guide;park ranger;thru-hiker;camper;alpine climber
mountain trail;national park;campsite;summit ridge;backpacking tent;canyon hike;alpine hut;river kayak trip
hikes the coastal trail;camps under the stars;climbs the north face;closes the canyon path;walks across the mountains
autos/electric_cars
electric car maker;battery engineer;EV driver;charging network;Tesla owner;hybrid buyer
charging station;electric SUV;battery range;plug-in hybrid;EV subsidy;electric pickup;fast charger;battery factory
unveils an electric pickup;drives 500 miles on one charge;builds a battery plant;drops petrol engines;recalls its EVs
autos/motorsport
Formula One driver;pit crew;racing team boss;rally champion;test driver;motorcycle racer
pole position;pit stop;grand prix;safety car;racing engine;final lap;qualifying session;team radio
takes pole position;crashes on the opening lap;wins the grand prix;loses a wheel in the pit lane;sets the fastest lap
autos/classic_cars
vintage car collector;restorer;mechanic;barn find hunter;auction house;Mustang owner
vintage roadster;chrome bumper;classic car auction;V8 engine;muscle car;barn find;rusty coupe;1960s convertible
restores a 1957 convertible;auctions a rare Ferrari;rebuilds a V8 engine;finds a Porsche in a barn;polishes old chrome
weather/storms
hurricane;storm chaser;meteorologist;tornado;coastguard;tropical storm
hurricane season;tornado warning;flash flood;storm surge;power cut;lightning strike;evacuation order;hailstorm
strengthens to category four;tears off roofs;floods the coast;tracks the tornado;downs power lines
weather/heatwaves
heatwave;forecaster;fire weather expert;drought;heat dome;record temperature
heat warning;record high;drought;humid night;hosepipe ban;UV index;wildfire smoke;cooling centre
breaks the temperature record;dries out reservoirs;scorches the valley;forecasts forty degrees;turns fields brown
weather/winter
blizzard;snowplough driver;cold front;ice storm;forecaster;polar vortex
snow day;black ice;wind chill;freezing rain;snowdrift;frost warning;winter storm;icy road
dumps two feet of snow;freezes the lake;strands drivers in snowdrifts;brings an early frost;shuts icy highways
crime/fraud
con artist;fraud squad;identity thief;bogus investor;forger;embezzling clerk
Ponzi scheme;identity theft;insurance scam;fake invoice;money laundering;romance scam;counterfeit note;embezzlement
swindles pensioners;launders drug money;runs a Ponzi scheme;forges bank cheques;pleads guilty to fraud
crime/robbery
burglar;detective;armed robber;jewel thief;police sergeant;getaway driver
bank robbery;burglary;stolen van;jewel heist;robbery suspect;shop theft;police chase;carjacking
robs a bank at gunpoint;arrests the burglar;steals diamonds;flees in a getaway car;breaks into a pharmacy
crime/cold_cases
homicide detective;forensic expert;murder suspect;coroner;defence lawyer;jury
murder trial;DNA evidence;cold case;missing person search;prison sentence;autopsy;jury verdict;crime scene
reopens a 1980s murder;matches DNA from the scene;convicts the killer;finds human remains;gets life in prison
lifestyle/gardening
gardener;rose breeder;allotment holder;beekeeper;garden designer;nursery owner
tomato plant;rose bed;compost heap;lawn;vegetable patch;slug problem;hedge;greenhouse
prunes the roses;grows giant pumpkins;plants tulip bulbs;saves bees with wildflowers;turns a lawn into a meadow
lifestyle/pets
dog trainer;vet;rescue dog;cat owner;puppy breeder;animal shelter
puppy training;cat litter;dog walk;adoption day;flea treatment;kitten;barking habit;pet insurance
adopts a three-legged dog;rescues a kitten;teaches a puppy to sit;treats an overweight cat;finds homes for rabbits
lifestyle/fashion
fashion designer;supermodel;stylist;sneaker brand;tailor;couture house
runway show;denim jacket;fashion week;evening gown;sneaker drop;summer dress;handbag;capsule wardrobe
opens fashion week;wears vintage couture;launches a denim line;revives the trench coat;styles the red carpet
family/parenting
new mother;stay-at-home dad;midwife;paediatrician;toddler;foster parent
toddler tantrum;bedtime routine;screen time rule;baby name;breastfeeding;parental leave;newborn;potty training
survives the terrible twos;returns from parental leave;bans screens at dinner;delivers twins;tames the bedtime battle
family/schools
head teacher;school board;pupil;maths teacher;student union;college dean
school lunch;exam result;homework;classroom;university tuition;spelling bee;school bus;reading score
bans phones in class;tops the exam table;strikes over teacher pay;cuts university tuition;teaches coding to pupils
family/weddings
bride;groom;wedding planner;best man;newly-wed couple;matchmaker
wedding dress;engagement ring;wedding guest list;honeymoon;bridal shower;marriage vow;wedding speech;bouquet
proposes at the airport;elopes to the hills;plans a wedding for fifty;loses the ring;marries a childhood sweetheart
"""


def _parse(text: str) -> tuple[Topic, ...]:
    rows = text.strip().splitlines()
    blocks = (rows[i : i + 4] for i in range(0, len(rows), 4))
    return tuple(
        Topic(name.split("/")[0], name.split("/")[1], *(tuple(row.split(";")) for row in (actors, things, acts)))
        for name, actors, things, acts in blocks
    )


TOPICS = _parse(_TEXT)
CATEGORIES = tuple(dict.fromkeys(topic.category for topic in TOPICS))
