#include "ranks.h"

#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <utility>

extern char** environ;

namespace stand_in {
namespace {

enum Kind : std::int32_t { HELLO, LOADED, GO, STEP, PART, END, BYE };

[[noreturn]] void fail(const std::string& what) {
    throw std::runtime_error("[TensorRT-LLM][ERROR] " + what + ": " + std::strerror(errno));
}

struct Address {
    sockaddr_un name{};
    socklen_t length = 0;

    explicit Address(const std::string& job) {
        const std::string text = "assay-stand-in-" + job;
        name.sun_family = AF_UNIX;
        if (text.size() + 1 > sizeof(name.sun_path))
            throw std::runtime_error("the name of the job is too long");
        // A name that begins with 0 is not a file.
        std::memcpy(name.sun_path + 1, text.data(), text.size());
        length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
    }

    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&name); }
};

int new_socket() {
    const int descriptor = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) fail("no socket");
    return descriptor;
}

std::vector<Peer> accept_all(const std::string& job, std::size_t first, std::size_t count) {
    const Address address(job);
    const int listener = new_socket();
    const Peer closes(listener);
    if (::bind(listener, address.get(), address.length) < 0 || ::listen(listener, 64) < 0)
        fail("the ranks cannot meet");
    std::vector<std::optional<Peer>> placed(count);
    for (std::size_t i = 0; i < count; ++i) {
        const int descriptor = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (descriptor < 0) fail("a rank cannot join");
        Peer peer(descriptor);
        const Message hello = peer.receive();
        const auto place = static_cast<std::size_t>(hello.at(1)) - first;
        if (hello.at(0) != HELLO || place >= count || placed[place])
            throw std::runtime_error("[TensorRT-LLM][ERROR] a rank joined that should not");
        placed[place].emplace(std::move(peer));
    }
    std::vector<Peer> peers;
    for (std::optional<Peer>& peer : placed) peers.push_back(std::move(*peer));
    return peers;
}

Peer connect_to(const std::string& job) {
    const Address address(job);
    while (true) {
        Peer peer(new_socket());
        if (peer.connect(address.get(), address.length)) return peer;
        // It may not be there yet.
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
}

Message step_of(const std::vector<Tokens>& sequences) {
    Message message = {STEP, static_cast<std::int32_t>(sequences.size())};
    for (const Tokens& tokens : sequences) {
        message.push_back(static_cast<std::int32_t>(tokens.size()));
        message.insert(message.end(), tokens.begin(), tokens.end());
    }
    return message;
}

void finalize_world() {
    const World& world = World::join();
    try {
        if (world.middle) world.middle->finalize();
        if (world.member) world.member->finalize();
    } catch (const RankLost&) {
        hang();
    }
}

}  // namespace

Place Place::find() {
    const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
    const char* world = std::getenv("OMPI_COMM_WORLD_SIZE");
    const char* job = std::getenv("PMIX_NAMESPACE");
    if (rank == nullptr || world == nullptr) return {0, 1, {}};
    return {std::stoul(rank), std::stoul(world), job == nullptr ? "" : job};
}

Peer::Peer(Peer&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

Peer::~Peer() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

bool Peer::connect(const sockaddr* address, unsigned length) const {
    if (::connect(descriptor_, address, length) == 0) return true;
    if (errno != ECONNREFUSED) fail("the other ranks cannot be reached");
    return false;
}

void Peer::send(const Message& message) const {
    Message framed = {static_cast<std::int32_t>(message.size())};
    framed.insert(framed.end(), message.begin(), message.end());
    const auto* bytes = reinterpret_cast<const char*>(framed.data());
    for (std::size_t left = framed.size() * sizeof(framed[0]); left > 0;) {
        const ssize_t sent = ::send(descriptor_, bytes, left, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) throw RankLost("a rank has gone");
        bytes += sent;
        left -= static_cast<std::size_t>(sent);
    }
}

void Peer::read(void* into, std::size_t bytes) const {
    for (auto* place = static_cast<char*>(into); bytes > 0;) {
        const ssize_t got = ::recv(descriptor_, place, bytes, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) throw RankLost("a rank has gone");
        place += got;
        bytes -= static_cast<std::size_t>(got);
    }
}

Message Peer::receive() const {
    std::int32_t size = 0;
    read(&size, sizeof(size));
    Message message(static_cast<std::size_t>(size));
    read(message.data(), message.size() * sizeof(message[0]));
    return message;
}

Middle::Middle(const std::string& job, std::size_t first, std::size_t others)
    : first_(first), others_(accept_all(job, first, others)) {}

void Middle::meet() const {
    for (const Peer& other : others_)
        if (other.receive().at(0) != LOADED) throw RankLost("a rank is out of step");
    send({GO});
}

std::vector<std::vector<float>> Middle::compute(const Script& script,
                                                const std::vector<Tokens>& sequences) const {
    send(step_of(sequences));
    const std::size_t parts = first_ + others_.size();
    std::vector<std::vector<float>> sums;
    for (const Tokens& tokens : sequences)
        sums.push_back(first_ > 0 ? logits_of(script, tokens, 0, parts)
                                  : std::vector<float>(script.vocabulary, 0.0f));
    for (const Peer& other : others_) {
        const Message part = other.receive();
        if (part.at(0) != PART || part.size() != 1 + sums.size() * script.vocabulary)
            throw RankLost("a rank is out of step");
        auto value = part.begin() + 1;
        for (std::vector<float>& row : sums)
            for (float& logit : row) logit += std::bit_cast<float>(*value++);
    }
    return sums;
}

void Middle::send(const Message& message) const {
    for (const Peer& other : others_) other.send(message);
}

void Middle::end() const { send({END}); }

void Middle::finalize() const {
    for (const Peer& other : others_)
        if (other.receive().at(0) != BYE) throw RankLost("a rank is out of step");
    send({BYE});
}

Member::Member(const Place& place) : middle_(connect_to(place.job)) {
    middle_.send({HELLO, static_cast<std::int32_t>(place.rank)});
}

void Member::meet() const {
    middle_.send({LOADED});
    (void)middle_.receive();
}

void Member::serve(const Script& script, std::size_t part, std::size_t parts) const {
    for (Message step = middle_.receive(); step.at(0) == STEP; step = middle_.receive()) {
        Message answer = {PART};
        auto token = step.begin() + 2;
        for (std::int32_t sequence = 0; sequence < step.at(1); ++sequence) {
            const auto length = *token++;
            const Tokens tokens(token, token + length);
            token += length;
            for (const float logit : logits_of(script, tokens, part, parts))
                answer.push_back(std::bit_cast<std::int32_t>(logit));
        }
        middle_.send(answer);
    }
}

void Member::finalize() const {
    middle_.send({BYE});
    (void)middle_.receive();
}

World& World::join() {
    // Never destroyed: it is used until the process has exited.
    static World* const world = [] {
        auto* joined = new World{Place::find(), std::nullopt, std::nullopt};
        const Place& place = joined->place;
        if (place.rank > 0)
            joined->member.emplace(place);
        else
            joined->middle.emplace(place.job, 1, place.world - 1);
        std::atexit(finalize_world);
        return joined;
    }();
    return *world;
}

Middle spawn(const std::filesystem::path& worker, std::size_t ranks, const std::filesystem::path& engine) {
    static std::size_t spawned = 0;
    const std::string job = std::to_string(::getpid()) + "-" + std::to_string(++spawned);
    for (std::size_t rank = 0; rank < ranks; ++rank) {
        std::vector<std::string> variables = {"OMPI_COMM_WORLD_RANK=" + std::to_string(rank),
                                              "OMPI_COMM_WORLD_SIZE=" + std::to_string(ranks),
                                              "PMIX_NAMESPACE=" + job};
        for (char** variable = environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
        std::vector<char*> environment;
        for (std::string& variable : variables) environment.push_back(variable.data());
        environment.push_back(nullptr);
        std::string program = worker.string();
        char* arguments[] = {program.data(), nullptr};
        pid_t process = 0;
        errno = ::posix_spawn(&process, program.c_str(), nullptr, nullptr, arguments, environment.data());
        if (errno != 0) fail(program + " cannot be spawned");
    }
    Middle workers(job, 0, ranks);
    const std::string path = engine.string();
    workers.send(Message(path.begin(), path.end()));
    workers.meet();
    return workers;
}

void hang() {
    while (true) ::pause();
}

}  // namespace stand_in
