-- A load of short conversations for wrk, each of 40 words, none sent twice in a run.
--     wrk -t1 -c32 -d10s -s tools/bench_short.lua http://127.0.0.1:8000/classify
local words = {
  "water", "light", "house", "answer", "number", "people", "small", "large", "river", "green",
  "think", "because", "through", "after", "before", "under", "always", "never", "often", "again",
}

math.randomseed(os.time())

function request()
  local text = {}
  for index = 1, 40 do
    text[index] = words[math.random(#words)]
  end
  local body = '{"model": "m", "messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "'
    .. table.concat(text, " ") .. '"}]}'
  return wrk.format("POST", nil, { ["content-type"] = "application/json" }, body)
end

-- The one line that tools/bench_short.py reads.
function done(summary, latency)
  local failed = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format("answered %d in %d us, failed %d, median %d us, p99 %d us\n",
    summary.requests, summary.duration, failed, latency:percentile(50), latency:percentile(99)))
end
