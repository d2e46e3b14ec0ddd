// What the server relies on of cpp/trtllm/executor.h where an engine has several ranks, each a process: those
// that mpirun starts, here this program itself, and those that an orchestrator spawns.
//   ranks_test WORKER                    runs every test
//   ranks_test WORKER TEST DIRECTORY     is a rank of that test

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <map>
#include <thread>

#include "support.h"

namespace assay::trtllm {
namespace {

constexpr const char* kRow = "logits 1.5 -2 0.25 4 8\n";
const std::vector<float> kLogits = {1.5f, -2.0f, 0.25f, 4.0f, 8.0f};
// Statuses of ranks that end for a reason of their own.
constexpr int kLeft = 7;
constexpr int kKilled = 128 + SIGKILL;

std::string program;
std::string worker;

// What became of each of the processes, by rank: its exit status, or 128 and the signal that ended it.
std::vector<int> statuses(const std::vector<pid_t>& processes) {
    std::vector<int> ends;
    ends.reserve(processes.size());
    for (const pid_t process : processes) {
        int status = 0;
        CHECK(waitpid(process, &status, 0) > 0);
        ends.push_back(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
    return ends;
}

pid_t start_rank(std::size_t rank, std::size_t world, const char* test, const Directory& directory) {
    std::vector<std::string> variables = {"OMPI_COMM_WORLD_RANK=" + std::to_string(rank),
                                          "OMPI_COMM_WORLD_SIZE=" + std::to_string(world),
                                          "PMIX_NAMESPACE=" + directory.path().filename().string()};
    for (char** variable = environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
    std::vector<std::string> words = {program, worker, test, directory.path().string()};
    const auto pointers = [](std::vector<std::string>& strings) {
        std::vector<char*> all;
        all.reserve(strings.size() + 1);
        for (std::string& string : strings) all.push_back(string.data());
        all.push_back(nullptr);
        return all;
    };
    pid_t process = 0;
    CHECK(posix_spawn(&process, program.c_str(), nullptr, nullptr, pointers(words).data(),
                      pointers(variables).data()) == 0);
    return process;
}

std::vector<int> run(const char* test, std::size_t world, const std::string& script,
                     const std::string& config = "{}") {
    const Directory directory(kRow + script);
    std::ofstream(directory.path() / "config.json") << config;
    std::vector<pid_t> processes;
    for (std::size_t rank = 0; rank < world; ++rank)
        processes.push_back(start_rank(rank, world, test, directory));
    return statuses(processes);
}

// --- What ranks do; these run in the ranks' own processes ---

Config config_of(const std::filesystem::path& directory) {
    Config config = Directory::config_of(directory);
    config.ranks = 2;
    return config;
}

// Where the leader finds one of the others whole.
void write_process_id(const std::filesystem::path& directory) {
    const std::filesystem::path own = directory / ("process." + std::to_string(getpid()));
    std::ofstream(own) << getpid();
    std::filesystem::rename(own, directory / "process");
}

void follow(const std::filesystem::path& directory) {
    Executor executor(config_of(directory));
    CHECK(!executor.is_leader());
    CHECK(!error_of([&] { executor.enqueue(std::vector<Sequence>{scored(1)}); }).empty());
    write_process_id(directory);
    executor.run_worker();
}

void lead(const std::filesystem::path& directory) {
    Executor executor(config_of(directory));
    CHECK(executor.is_leader());
    constexpr std::uint64_t kSequences = 2000;
    std::map<std::uint64_t, std::size_t> answers;
    std::thread submitting([&] {
        for (std::uint64_t id = 0; id < kSequences; ++id) executor.enqueue(std::vector<Sequence>{scored(id)});
    });
    while (answers.size() < kSequences)
        for (const Answer& answer : executor.await(Milliseconds(1000))) {
            CHECK(++answers[answer.id] == 1 && answer.ending == Ending::Complete);
            CHECK(answer.logits == kLogits);
        }
    submitting.join();
    executor.shutdown();
}

void kill_the_other(const std::filesystem::path& directory) {
    pid_t process = 0;
    while (!(std::ifstream(directory / "process") >> process)) std::this_thread::sleep_for(Milliseconds(5));
    CHECK(kill(process, SIGKILL) == 0);
    // Until it is gone, or a zombie of its parent's.
    const std::string place = "/proc/" + std::to_string(process) + "/stat";
    for (std::string word, state; state != "Z"; std::this_thread::sleep_for(Milliseconds(1)))
        if (std::ifstream file(place); !(file >> word >> word >> state)) return;
}

// Loses a rank after a first score, and asks for another.
void lose_a_rank(Executor& executor, const std::filesystem::path& directory) {
    executor.enqueue(std::vector<Sequence>{scored(1)});
    CHECK(await_all(executor).at(0).logits == kLogits);
    kill_the_other(directory);
    executor.enqueue(std::vector<Sequence>{scored(2)});
}

void lead_and_fail(const std::filesystem::path& directory) {
    Executor executor(config_of(directory));
    lose_a_rank(executor, directory);
    const std::vector<Answer> answers = await_all(executor);
    CHECK(answers.size() == 1 && answers[0].ending == Ending::Failed && answers[0].logits.empty());
    CHECK(contains(answers[0].error, "forwardAsync"));
    std::_Exit(kLeft);
}

void lead_and_hang(const std::filesystem::path& directory) {
    Executor executor(config_of(directory));
    lose_a_rank(executor, directory);
    // Nothing comes, and nothing ends by itself.
    CHECK(executor.await(Milliseconds(500)).empty() && executor.in_flight() > 0);
    std::_Exit(kLeft);
}

void be_refused(const std::filesystem::path& directory) {
    CHECK(contains(error_of([&] { Executor executor(config_of(directory)); }), "worldSize"));
}

void lack_gpus(const std::filesystem::path& directory) {
    CHECK(contains(error_of([&] { Executor executor(config_of(directory)); }), "with 8 gpusPerNode"));
}

void fail_every_step(const std::filesystem::path& directory) {
    Executor executor(config_of(directory));
    executor.enqueue(std::vector<Sequence>{scored(1)});
    CHECK(contains(await_all(executor).at(0).error, "Incompatible buffer sizes"));
    executor.shutdown();
}

// --- Tests ---

void every_rank_has_a_part_in_every_score_and_all_end_in_order() {
    CHECK(run("lead", 2, "ranks 2\n") == std::vector<int>(2, 0));
    CHECK(run("lead", 4, "ranks 4\nreorder\njitter 50\n") == std::vector<int>(4, 0));
}

void a_rank_that_is_lost_is_an_error_and_never_a_score() {
    CHECK((run("lead_and_fail", 2, "ranks 2\nlost_rank_fails\n") == std::vector<int>{kLeft, kKilled}));
}

void a_rank_that_is_lost_does_not_keep_the_leader_from_leaving() {
    CHECK((run("lead_and_hang", 2, "ranks 2\n") == std::vector<int>{kLeft, kKilled}));
}

void as_many_ranks_as_the_engine_has_not_is_an_error() {
    CHECK(run("be_refused", 1, "ranks 2\n") == std::vector<int>(1, 0));
    CHECK(run("be_refused", 3, "ranks 2\n") == std::vector<int>(3, 0));
}

void nodes_of_fewer_gpus_need_an_engine_that_says_so() {
    // Four ranks on two nodes of two GPUs each.
    CHECK(run("lack_gpus", 4, "ranks 4\ndevices 2\n") == std::vector<int>(4, 0));
    const char* nodes = R"({"mapping": {"tp_size": 4, "gpus_per_node": 2}})";
    CHECK(run("lead", 4, "ranks 4\ndevices 2\n", nodes) == std::vector<int>(4, 0));
}

void a_vocabulary_that_is_padded_in_two_ways_fails_every_step() {
    const auto padded = [](const char* vocabulary) {
        return std::string(R"({"mapping": {"tp_size": 1, "pp_size": 2}, "vocab_size": )") + vocabulary + "}";
    };
    CHECK(run("fail_every_step", 2, "ranks 2\n", padded("641")) == std::vector<int>(2, 0));
    CHECK(run("lead", 2, "ranks 2\n", padded("642")) == std::vector<int>(2, 0));
}

void an_orchestrator_s_workers_compute_and_end_with_it() {
    const Directory directory(kRow + std::string("ranks 4\n"));
    Config config = directory.config();
    config.ranks = 4;
    config.processes = Processes::Orchestrator;
    config.worker = worker;
    {
        Executor executor(config);
        CHECK(executor.is_leader());
        for (std::uint64_t id = 0; id < 500; ++id) executor.enqueue(std::vector<Sequence>{scored(id)});
        for (const Answer& answer : await_all(executor)) CHECK(answer.logits == kLogits);
    }
    CHECK(statuses({-1, -1, -1, -1}) == std::vector<int>(4, 0));
}

}  // namespace
}  // namespace assay::trtllm

int main(int count, char** words) {
    using namespace assay::trtllm;
    program = words[0];
    worker = count > 1 ? words[1] : "";
    if (count == 4) {
        const std::map<std::string, void (*)(const std::filesystem::path&)> tests = {
            {"lead", lead},
            {"lead_and_fail", lead_and_fail},
            {"lead_and_hang", lead_and_hang},
            {"be_refused", be_refused},
            {"lack_gpus", lack_gpus},
            {"fail_every_step", fail_every_step}};
        const char* rank = getenv("OMPI_COMM_WORLD_RANK");
        const std::string test = words[2];
        const bool follows =
            rank != nullptr && std::string(rank) != "0" && test != "be_refused" && test != "lack_gpus";
        (follows ? follow : tests.at(words[2]))(words[3]);
        return 0;
    }
    every_rank_has_a_part_in_every_score_and_all_end_in_order();
    a_rank_that_is_lost_is_an_error_and_never_a_score();
    a_rank_that_is_lost_does_not_keep_the_leader_from_leaving();
    as_many_ranks_as_the_engine_has_not_is_an_error();
    nodes_of_fewer_gpus_need_an_engine_that_says_so();
    a_vocabulary_that_is_padded_in_two_ways_fails_every_step();
    an_orchestrator_s_workers_compute_and_end_with_it();
    std::puts("ok");
}
