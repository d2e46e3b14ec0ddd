// The processes of an engine for several GPUs, and how they talk: what MPI is to the real library.
//
// One is in the middle and has a connection to each of the others: rank 0 of those that mpirun started,
// or the orchestrator that spawned them all. They meet at a Unix socket without a file, named after the job.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "logits.h"
#include "script.h"

struct sockaddr;

namespace stand_in {

using Message = std::vector<std::int32_t>;

// A rank has gone whose part is needed.
class RankLost : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

// Where this process stands among those that were started together.
struct Place {
    std::size_t rank;
    std::size_t world;
    // No other such group on this machine has this name.
    std::string job;

    // As Open MPI tells it; alone where nothing started this process.
    static Place find();
};

// A connection to another process. Waits for as long as it takes; throws RankLost once the other has gone.
class Peer {
  public:
    explicit Peer(int descriptor) : descriptor_(descriptor) {}
    Peer(Peer&& other) noexcept;
    ~Peer();

    // False if nobody listens there.
    bool connect(const sockaddr* address, unsigned length) const;
    void send(const Message& message) const;
    Message receive() const;

  private:
    void read(void* into, std::size_t bytes) const;

    int descriptor_;
};

// The process in the middle.
class Middle {
  public:
    // Waits for `others` processes, whose first message is their rank: it, less `first`, is their place here.
    Middle(const std::string& job, std::size_t first, std::size_t others);

    // Waits until each has loaded; nobody goes on before all have.
    void meet() const;
    // What each rank makes of the sequences, added up: [sequence][vocabulary].
    std::vector<std::vector<float>> compute(const Script& script, const std::vector<Tokens>& sequences) const;
    void send(const Message& message) const;
    void end() const;
    // As MPI does when a process exits: waits for the others to exit too, forever if one never does.
    void finalize() const;

  private:
    const std::size_t first_;
    std::vector<Peer> others_;
};

// Any other process.
class Member {
  public:
    explicit Member(const Place& place);

    void meet() const;
    Message receive() const { return middle_.receive(); }
    // Computes its part of whatever comes, until the process in the middle ends it.
    void serve(const Script& script, std::size_t part, std::size_t parts) const;
    void finalize() const;

  private:
    Peer middle_;
};

// Those that mpirun started. Joined once in a process's life, and left when it exits.
struct World {
    Place place;
    std::optional<Middle> middle;
    std::optional<Member> member;

    // Waits for all of them.
    static World& join();
};

// Spawns a worker for each rank and waits until they have joined and know what to load.
Middle spawn(const std::filesystem::path& worker, std::size_t ranks, const std::filesystem::path& engine);

// Waits forever: what a rank does in the middle of a collective that another left.
[[noreturn]] void hang();

}  // namespace stand_in
