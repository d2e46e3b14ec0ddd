// What the server relies on of cpp/trtllm/executor.h, over the stand-in.

#include <algorithm>
#include <atomic>
#include <map>
#include <random>
#include <thread>

#include "support.h"

namespace assay::trtllm {
namespace {

Sequence generated(std::uint64_t id, std::size_t max_tokens) {
    Sequence sequence = scored(id);
    sequence.max_tokens = max_tokens;
    return sequence;
}

// Everything that came of a sequence, in one answer; `parts` is how many it came in.
Answer answer_to(const std::string& script, Sequence sequence, std::size_t* parts = nullptr) {
    const Directory directory(script);
    Executor executor(directory.config());
    executor.enqueue({&sequence, 1});
    Answer whole{};
    const std::vector<Answer> answers = await_all(executor);
    for (const Answer& answer : answers) {
        CHECK(answer.id == sequence.id);
        CHECK((answer.ending == Ending::None) == (&answer != &answers.back()));
        std::vector<std::uint32_t> tokens = whole.tokens;
        tokens.insert(tokens.end(), answer.tokens.begin(), answer.tokens.end());
        std::vector<float> logits = whole.logits;
        logits.insert(logits.end(), answer.logits.begin(), answer.logits.end());
        whole = answer;
        whole.tokens = tokens;
        whole.logits = logits;
    }
    CHECK(executor.in_flight() == 0);
    if (parts != nullptr) *parts = answers.size();
    return whole;
}

void a_score_is_the_first_logits_of_the_row() {
    const Answer answer = answer_to("logits 1.5 -2 0.25 4 8 99 99", scored(7));
    CHECK(answer.ending == Ending::Complete);
    CHECK((answer.logits == std::vector<float>{1.5f, -2.0f, 0.25f, 4.0f, 8.0f}));
    CHECK(answer.tokens.empty());
}

void generated_tokens_come_one_by_one_up_to_the_length() {
    std::size_t parts = 0;
    const Answer answer = answer_to("logits 0 0 9", generated(1, 3), &parts);
    CHECK((answer.tokens == std::vector<std::uint32_t>{2, 2, 2}) && answer.logits.empty());
    CHECK(answer.ending == Ending::Complete && parts == 3);
}

void a_stop_token_ends_generation_and_is_the_last_token_whichever_it_is() {
    for (const std::vector<std::uint32_t>& stop :
         {std::vector<std::uint32_t>{2}, std::vector<std::uint32_t>{4, 2}}) {
        Sequence sequence = generated(1, 3);
        sequence.stop = stop;
        const Answer answer = answer_to("logits 0 0 9", sequence);
        CHECK((answer.tokens == std::vector<std::uint32_t>{2}) && answer.ending == Ending::Stopped);
    }
}

void every_token_comes_with_the_models_own_logits_whatever_it_was_chosen_by() {
    Sequence sequence = generated(1, 4);
    sequence.logits = true;
    sequence.sampling.presence_penalty = 20;
    sequence.bias = {{.token = 1, .bias = 5}};
    const std::vector<std::uint32_t> stop = {3, 4};
    sequence.stop = stop;
    const Answer answer = answer_to("logits 1 2 9 0 -1", sequence);
    // 3 ends it, as the end id, which the library does not count as a token and gives no logits for.
    CHECK((answer.tokens == std::vector<std::uint32_t>{2, 1, 0, 3}));
    CHECK(answer.ending == Ending::Stopped && answer.logits.size() == 15);
    for (std::size_t token = 0; token < 3; ++token)
        CHECK(answer.logits[5 * token] == 1 && answer.logits[5 * token + 2] == 9);
}

void a_bias_changes_what_is_chosen_and_is_of_a_token_that_there_is() {
    Sequence sequence = generated(1, 2);
    sequence.bias = {{.token = 3, .bias = 10}};
    CHECK((answer_to("vocabulary 5\nlogits 0 0 9", sequence).tokens == std::vector<std::uint32_t>{3, 3}));
    const Directory directory("");
    Executor executor(directory.config());
    sequence.bias = {{.token = 5, .bias = 10}};
    CHECK(contains(error_of([&] { executor.enqueue({&sequence, 1}); }), "does not have"));
}

void penalties_count_the_answers_tokens_and_repetition_the_prompts_too() {
    // The prompt is 3 1 4 1 5.
    Sequence sequence = generated(1, 3);
    sequence.sampling.presence_penalty = 2;
    CHECK((answer_to("logits 0 9 8", sequence).tokens == std::vector<std::uint32_t>{1, 2, 1}));
    sequence.sampling.presence_penalty = 0;
    sequence.sampling.repetition_penalty = 2;
    CHECK((answer_to("logits 0 9 8", sequence).tokens == std::vector<std::uint32_t>{2, 1, 1}));
}

void an_end_token_is_held_back_and_without_one_nothing_is() {
    Sequence sequence = generated(1, 4);
    sequence.sampling.min_tokens = 2;
    CHECK(answer_to("logits 0 0 9", sequence).tokens == std::vector<std::uint32_t>(4, 2));
    const std::vector<std::uint32_t> stop = {2};
    sequence.stop = stop;
    CHECK((answer_to("logits 1 0 9", sequence).tokens == std::vector<std::uint32_t>{0, 0, 2}));
}

void a_stream_that_lacks_its_logits_fails_once_and_ends() {
    const Directory directory("logits_missing\ndelay 1000");
    Executor executor(directory.config());
    Sequence sequence = generated(1, 1'000'000);
    sequence.logits = true;
    executor.enqueue({&sequence, 1});
    const std::vector<Answer> answers = await_all(executor);
    CHECK(answers.size() == 1 && contains(answers.front().error, "returned no logits"));
}

void what_is_sampled_follows_its_seed() {
    Sequence sequence = generated(1, 8);
    sequence.sampling.temperature = 1;
    sequence.sampling.seed = 5;
    const std::vector<std::uint32_t> tokens = answer_to("logits 0 0 1", sequence).tokens;
    CHECK(tokens == answer_to("logits 0 0 1", sequence).tokens);
    sequence.sampling.seed = 6;
    CHECK(tokens != answer_to("logits 0 0 1", sequence).tokens);
    sequence.sampling.temperature = 0;
    CHECK(answer_to("logits 0 0 9", sequence).tokens == std::vector<std::uint32_t>(8, 2));
}

void sampling_that_the_library_refuses_is_an_error_in_its_words() {
    const Directory directory("");
    Executor executor(directory.config());
    Sequence sequence = generated(1, 1);
    sequence.sampling = {.temperature = 1, .top_p = 2};
    CHECK(contains(error_of([&] { executor.enqueue({&sequence, 1}); }), "topP"));
    CHECK(executor.in_flight() == 0);
}

void a_generating_sequence_can_be_cancelled_midway() {
    const Directory directory("delay 1000");
    Executor executor(directory.config());
    const Sequence sequence = generated(1, 1'000'000);
    executor.enqueue({&sequence, 1});
    CHECK(executor.await(Milliseconds(5000)).at(0).ending == Ending::None);
    executor.cancel(1);
    CHECK(await_all(executor).back().ending == Ending::Cancelled);
}

void windows_and_the_way_of_decoding_reach_the_library() {
    const Directory directory("echo\nlogits 1 2");
    Config config = directory.config();
    config.generates = false;
    config.block_reuse = false;
    config.attention_windows = {3, 3, 64};
    Executor executor(config);
    const Sequence sequence = scored(1);
    executor.enqueue({&sequence, 1});
    CHECK(await_all(executor).at(0).logits.at(1) == 2);
    std::ifstream file(directory.path() / "asked-for");
    const std::string asked_for((std::istreambuf_iterator<char>(file)), {});
    CHECK(contains(asked_for, "top_k_only 1\nwindows 3 3 64\n"));
}

void what_is_no_score_is_an_error_in_words() {
    const std::pair<const char*, const char*> cases[] = {
        {"error_share 1000000", "when fetching new request"},
        {"fail_step_share 1000000", "forwardAsync"},
        {"unfinished_share 1000000", "without a reason"},
        {"logits_missing", "returned no logits"},
        {"logits_half", "--logits_dtype float32"},
        {"logits_on_gpu", "GPU memory"},
        {"vocabulary 3\nrows 3", "gives 3 logits"},
    };
    for (const auto& [script, words] : cases) {
        const Answer answer = answer_to(script, scored(1));
        CHECK(answer.ending == Ending::Failed && answer.logits.empty() && answer.tokens.empty());
        CHECK(contains(answer.error, words));
    }
    CHECK(answer_to("time_out_share 1000000", scored(1)).ending == Ending::TimedOut);
    CHECK(answer_to("unfinished_share 1000000", generated(1, 2)).ending == Ending::Failed);
}

void an_engine_that_does_not_load_says_why() {
    const Directory directory("load_error Assertion failed: Failed to deserialize cuda engine");
    CHECK(contains(error_of([&] { Executor executor(directory.config()); }), "Failed to deserialize"));
}

void a_full_queue_takes_none_of_a_batch() {
    const Directory directory("delay 1000");
    Config config = directory.config();
    config.max_queue_size = 3;
    Executor executor(config);
    const std::vector<Sequence> batch = {scored(1), scored(2), scored(3), scored(4)};
    CHECK(contains(error_of([&] { executor.enqueue(batch); }), "Maximum queue size of 3"));
    CHECK(executor.in_flight() == 0);
    executor.enqueue(std::span(batch).first(3));
    CHECK(await_all(executor).size() == 3);
}

void a_cancelled_sequence_is_answered_as_such() {
    const Directory directory("delay 20000");
    Config config = directory.config();
    config.max_batch_size = 1;
    Executor executor(config);
    executor.enqueue(std::vector<Sequence>{scored(1), scored(2)});
    executor.cancel(2);
    executor.cancel(99);
    for (const Answer& answer : await_all(executor))
        CHECK(answer.ending == (answer.id == 2 ? Ending::Cancelled : Ending::Complete));
    executor.cancel(1);
}

void everything_can_be_cancelled_at_once() {
    const Directory directory("delay 20000");
    Config config = directory.config();
    config.max_batch_size = 1;
    Executor executor(config);
    executor.enqueue(std::vector<Sequence>{scored(1), scored(2), scored(3)});
    executor.cancel_all();
    const std::vector<Answer> answers = await_all(executor);
    CHECK(std::count_if(answers.begin(), answers.end(),
                        [](const Answer& answer) { return answer.ending == Ending::Cancelled; }) >= 2);
}

void what_is_more_urgent_goes_first() {
    const Directory directory("delay 20000");
    Config config = directory.config();
    config.max_batch_size = 1;
    Executor executor(config);
    std::vector<Sequence> batch;
    for (std::uint64_t id = 0; id < 4; ++id) {
        batch.push_back(scored(id));
        batch.back().priority = 0.2f * static_cast<float>(id);
    }
    executor.enqueue(batch);
    std::vector<std::uint64_t> order;
    for (const Answer& answer : await_all(executor)) order.push_back(answer.id);
    CHECK((order == std::vector<std::uint64_t>{3, 2, 1, 0}));
}

void an_engine_that_has_ended_is_noticed_rather_than_asked_for_ever() {
    const Directory directory("die_in_step 1");
    Executor executor(directory.config());
    executor.enqueue(std::vector<Sequence>{scored(1)});
    // An end that goes unnoticed is a wait of an hour.
    const std::string error = error_of([&] {
        while (true) (void)executor.await(Milliseconds(3'600'000));
    });
    CHECK(contains(error, "has stopped"));
    CHECK(executor.in_flight() == 1);
}

void after_shutdown_every_call_is_an_error_and_none_a_crash() {
    const Directory directory("");
    Executor executor(directory.config());
    executor.shutdown();
    executor.shutdown();
    CHECK(!executor.is_leader());
    CHECK(contains(error_of([&] { executor.enqueue(std::vector<Sequence>{scored(1)}); }), "Shutdown called"));
    CHECK(contains(error_of([&] { (void)executor.await(Milliseconds(1)); }), "Shutdown called"));
    CHECK(contains(error_of([&] { (void)executor.statistics(); }), "Shutdown called"));
}

void an_orchestrator_needs_its_worker() {
    const Directory directory("ranks 2");
    Config config = directory.config();
    config.ranks = 2;
    config.processes = Processes::Orchestrator;
    config.worker = "/no/such/executorWorker";
    CHECK(contains(error_of([&] { Executor executor(config); }), "worker"));
}

void statistics_tell_the_cache_and_what_was_computed() {
    const Directory directory("kv_blocks 77\ntokens_per_block 16");
    Executor executor(directory.config());
    executor.enqueue(std::vector<Sequence>{scored(1), scored(2)});
    (void)await_all(executor);
    const Statistics statistics = executor.statistics();
    CHECK(statistics.iterations >= 1 && statistics.context_tokens == 2 * kTokens.size());
    CHECK(statistics.kv_blocks == 77 && statistics.tokens_per_block == 16);
    CHECK(executor.statistics().iterations == 0);
}

// Several threads submit and cancel while one awaits, and everything goes wrong that can.
void every_sequence_is_answered_once_whatever_goes_wrong(std::size_t requests) {
    const Directory directory(
        "reorder\njitter 50\nseed 5\nrefuse_share 30000\nerror_share 30000\ntime_out_share 30000\n"
        "unfinished_share 10000\npartial_share 50000\ntwice_share 50000\nfail_step_share 20000");
    Executor executor(directory.config());
    constexpr std::size_t kSubmitters = 3;
    constexpr std::size_t kGenerated = 4;
    const auto generates = [](std::uint64_t id) { return id % 4 == 0; };
    std::map<std::uint64_t, std::size_t> tokens;
    std::atomic<std::size_t> refused = 0;
    std::atomic<std::size_t> submitting = kSubmitters;
    std::map<std::uint64_t, std::size_t> answers;
    std::map<Ending, std::size_t> endings;
    std::thread awaiting([&] {
        while (submitting > 0 || executor.in_flight() > 0)
            for (const Answer& answer : executor.await(Milliseconds(200))) {
                ++endings[answer.ending];
                CHECK((answer.ending == Ending::Failed) == !answer.error.empty());
                CHECK(answer.logits.empty() || answer.logits.size() == 5);
                CHECK(answer.scored != generates(answer.id));
                tokens[answer.id] += answer.tokens.size();
                if (answer.ending == Ending::None) {
                    CHECK(answers[answer.id] == 0 && generates(answer.id));
                    continue;
                }
                ++answers[answer.id];
                if (answer.ending == Ending::Complete)
                    CHECK(generates(answer.id) ? tokens[answer.id] == kGenerated : !answer.logits.empty());
            }
    });
    std::vector<std::thread> submitters;
    for (std::size_t submitter = 0; submitter < kSubmitters; ++submitter)
        submitters.emplace_back([&, submitter] {
            std::mt19937 random(static_cast<unsigned>(submitter));
            for (std::size_t i = submitter; i < requests; i += kSubmitters) {
                const Sequence sequence = generates(i) ? generated(i, kGenerated) : scored(i);
                while (executor.in_flight() > 2000) std::this_thread::sleep_for(Milliseconds(1));
                if (const std::string error = error_of([&] {
                        executor.enqueue({&sequence, 1});
                    });
                    !error.empty()) {
                    CHECK(contains(error, "Maximum queue size"));
                    ++refused;
                } else if (random() % 20 == 0) {
                    executor.cancel(i);
                }
            }
            --submitting;
        });
    for (std::thread& submitter : submitters) submitter.join();
    awaiting.join();
    CHECK(answers.size() + refused == requests);
    CHECK(std::all_of(answers.begin(), answers.end(), [](const auto& answer) { return answer.second == 1; }));
    for (const Ending ending : {Ending::Complete, Ending::Cancelled, Ending::TimedOut, Ending::Failed})
        CHECK(endings[ending] > 0);
    std::printf("%zu sequences: %zu complete, %zu failed, %zu timed out, %zu cancelled, %zu refused\n",
                requests, endings[Ending::Complete], endings[Ending::Failed], endings[Ending::TimedOut],
                endings[Ending::Cancelled], refused.load());
}

void an_engine_can_end_with_work_in_flight() {
    const Directory directory("delay 200");
    for (int round = 0; round < 20; ++round) {
        Executor executor(directory.config());
        std::vector<Sequence> batch;
        for (std::uint64_t id = 0; id < 200; ++id)
            batch.push_back(id % 2 == 0 ? scored(id) : generated(id, 20));
        executor.enqueue(batch);
        (void)executor.await(Milliseconds(1000));
    }
}

}  // namespace
}  // namespace assay::trtllm

int main() {
    using namespace assay::trtllm;
    a_score_is_the_first_logits_of_the_row();
    generated_tokens_come_one_by_one_up_to_the_length();
    a_stop_token_ends_generation_and_is_the_last_token_whichever_it_is();
    every_token_comes_with_the_models_own_logits_whatever_it_was_chosen_by();
    a_bias_changes_what_is_chosen_and_is_of_a_token_that_there_is();
    penalties_count_the_answers_tokens_and_repetition_the_prompts_too();
    an_end_token_is_held_back_and_without_one_nothing_is();
    a_stream_that_lacks_its_logits_fails_once_and_ends();
    what_is_sampled_follows_its_seed();
    sampling_that_the_library_refuses_is_an_error_in_its_words();
    a_generating_sequence_can_be_cancelled_midway();
    windows_and_the_way_of_decoding_reach_the_library();
    what_is_no_score_is_an_error_in_words();
    an_engine_that_does_not_load_says_why();
    a_full_queue_takes_none_of_a_batch();
    a_cancelled_sequence_is_answered_as_such();
    everything_can_be_cancelled_at_once();
    what_is_more_urgent_goes_first();
    an_engine_that_has_ended_is_noticed_rather_than_asked_for_ever();
    after_shutdown_every_call_is_an_error_and_none_a_crash();
    an_orchestrator_needs_its_worker();
    statistics_tell_the_cache_and_what_was_computed();
    every_sequence_is_answered_once_whatever_goes_wrong(100'000);
    an_engine_can_end_with_work_in_flight();
    std::puts("ok");
}
