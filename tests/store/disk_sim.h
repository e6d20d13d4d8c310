/* disk_sim: a disk that lies within declared bounds, all of it from one seed.
 *
 * A platter holds files twice: as they are read, and as they would be after a power loss. Journals
 * reach it by ports, one each, whose requests wait until the test completes them. A crash settles
 * every sector of what was on its way: new, old or garbage. */
#ifndef TESTS_STORE_DISK_SIM_H
#define TESTS_STORE_DISK_SIM_H

#include "base/prng.h"
#include "store/disk.h"

enum { SIM_SECTOR_BYTES = 512, SIM_PORTS_MAX = 6, SIM_FILES_MAX = 1024 };

enum sim_fault {
    SIM_NO_FAULT,
    SIM_EIO,         /* a write or sync fails; some sectors may have been written */
    SIM_SHORT,       /* a write fails after a part */
    SIM_NO_SPACE,    /* a file cannot be made */
    SIM_DROPPED,     /* a write is reported done and was not */
    SIM_MISDIRECTED, /* a write is reported done and went elsewhere */
};

/* A write that was reported done, as the platter remembers it. */
struct sim_write {
    uint64_t offset;
    uint64_t size;
};

struct sim_file {
    struct disk_file *handle; /* itself, as the store sees it */
    char name[DISK_NAME_BYTES_MAX];
    uint64_t size;
    uint8_t *seen;
    uint8_t *stable;
    bool used;
    bool removed;             /* the name is gone, if no power loss brings it back */
    struct sim_write *writes; /* frames of this use of the file */
    uint32_t write_count;
    uint32_t write_capacity;
    uint64_t unreadable; /* the offset of a sector that gives -EIO, or UINT64_MAX */
    uint64_t sick;       /* the same, but only for DISK_READ */
    bool sick_flips;     /* which gets it, with a bit flipped */
    uint32_t failures;   /* of DISK_READ */
    uint32_t uses;       /* how often it became another file: headers that were written */
};

struct sim_port {
    struct disk disk;
    struct platter *platter;
    struct disk_request *waiting; /* in order */
    struct disk_request *done;
    uint64_t end_lsn; /* behind the last frame or header done, for comparing the cut */
    bool faulty;      /* a fault was put in; the cut cannot be predicted */
    bool dropped;     /* a write was dropped, and */
    uint32_t since;   /* so many frames were begun and done since */
};

struct platter {
    struct sim_file files[SIM_FILES_MAX];
    struct sim_port ports[SIM_PORTS_MAX];
    struct prng prng;
    enum sim_fault fault; /* what the next fitting request suffers, once */
    uint32_t reserve;     /* files that can be made in spite of SIM_NO_SPACE, if they are vital */
    uint64_t operations;  /* counted for the ladder */
    uint64_t fail_at;     /* the operation that fails, or 0 */
    bool fired;
    bool looking; /* reads give what is stable; nothing is counted */
    bool spying;  /* nothing is counted, but reads give what is seen */
    bool healed;  /* what is sick can be read */
};

/* An empty platter. */
void platter_init(struct platter *platter, uint64_t seed);

/* Frees all. */
void platter_deinit(struct platter *platter);

/* Completes the port's oldest write, or when `slow` its oldest slow request or any of its reads;
 * false when there is none. */
bool platter_complete(struct sim_port *port, bool slow);

/* How many requests the port has that are not completed. */
uint32_t platter_waiting(const struct sim_port *port);

/* A sector of some file gets sick. Each file has one at most. */
void platter_sicken(struct platter *platter);

/* No file has ever been sick. */
void platter_forget_sickness(struct platter *platter);

/* The file of this name, or NULL. */
const struct sim_file *platter_find(struct platter *platter, const char *name);

/* Power loss: requests on their way and everything that was not made stable come out somehow. All
 * ports hand back what they have. */
void platter_power_loss(struct platter *platter);

/* The process is killed: of the requests on their way a first part was carried out, in the page
 * cache only. */
void platter_kill(struct platter *platter);

/* Everything on its way is carried out well. */
void platter_complete_all(struct platter *platter);

#endif
