// The script of the stand-in: how it misbehaves.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace stand_in {

// Read from `stand-in.conf` of the engine directory, then from STAND_IN of the environment: lines, or parts
// between semicolons, of a name and its values. Numbers named `..._share` are of a million.
struct Script {
    // Width of a row of logits, and how many of them are not zero.
    std::size_t vocabulary = 64;
    std::size_t rows = 5;
    // Logits of every sequence; else what `stand_in_set_model` was given under this number, from 1; else a
    // hash of its tokens.
    std::vector<float> logits;
    std::size_t callback = 0;
    bool logits_half = false;
    bool logits_missing = false;
    bool logits_on_gpu = false;
    std::size_t kv_blocks = 1024;
    std::size_t tokens_per_block = 32;
    // What a step takes, in microseconds: the first figure, and up to as much again as the second.
    std::size_t delay = 0;
    std::size_t jitter = 0;
    bool reorder = false;
    // What the executor was asked for is written to `asked-for` of the engine directory.
    bool echo = false;
    std::uint64_t seed = 1;
    // Steps, from the first, in which nothing below goes wrong.
    std::size_t calm_steps = 0;
    // Share of submissions refused as if the queue were full.
    std::size_t refuse_share = 0;
    // Shares of sequences answered with an error, timed out, or ended for an unknown reason.
    std::size_t error_share = 0;
    std::size_t time_out_share = 0;
    std::size_t unfinished_share = 0;
    // Share of scored sequences that get an intermediate response first, and share of all sequences whose
    // last response comes a second time.
    std::size_t partial_share = 0;
    std::size_t twice_share = 0;
    // Share of steps that fail, so that every active sequence is answered with an error.
    std::size_t fail_step_share = 0;
    // The engine's own thread ends in this step, or never answers again from it on; 0: never.
    std::size_t die_in_step = 0;
    std::size_t stall_in_step = 0;
    // Loading fails in these words.
    std::string load_error;
    // Loading ends once there is a file `gate` in the engine directory.
    bool load_gate = false;
    // On which rank these two hold.
    std::size_t load_rank = 0;
    // Pinned host memory in bytes, of which a request that returns logits takes as much as all its tokens may
    // need, from when it is fetched; 0: any amount.
    std::size_t pinned_bytes = 0;
    // Rows of the embedding: a step fails in which a prompt has an id beyond them. 0: any id.
    std::size_t embedding = 0;
    // GPUs of this node; 0: as many as the engine needs.
    std::size_t devices = 0;
    // GPUs that the engine was built for, which the real one has in its config.json.
    std::size_t ranks = 1;
    // A rank that is gone is an error of every sequence from then on; else, as in a collective on GPUs,
    // nothing ever comes back.
    bool lost_rank_fails = false;
    // This process is a rank that another leads.
    bool follows = false;

    static Script read(const std::filesystem::path& directory);
};

}  // namespace stand_in
