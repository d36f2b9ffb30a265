-- replay.lua: sends ready-made requests in turn. REQUESTS names a file of
-- records "<length>\n<bytes>". With EXPECT=<status> each answer's status is
-- looked at and body bytes are counted (a slower client: warm-ups only).
local requests, n = {}, 0
for_file = assert(io.open(os.getenv("REQUESTS"), "rb"))
while true do
  local size = for_file:read("*n", 1)
  if not size then break end
  n = n + 1
  requests[n] = for_file:read(size)
end
for_file:close()
local expect = tonumber(os.getenv("EXPECT") or "")
local threads, count = {}, 0
local i

function setup(thread)
  thread:set("number", count)
  count = count + 1
  threads[count] = thread
end

function init()
  i = math.floor(number * n / 2) % n   -- threads begin apart
  ok, bad, bytes, seen = 0, 0, 0, ""
end

function request()
  i = i + 1
  if i > n then i = 1 end
  return requests[i]
end

if expect then
  function response(status, headers, body)
    if status == expect then ok = ok + 1 else bad = bad + 1; seen = tostring(status) end
    bytes = bytes + #body
  end
end

function done(summary, latency)
  local e = summary.errors
  local good, wrong, size, other = 0, 0, 0, ""
  for _, t in ipairs(threads) do
    good = good + t:get("ok"); wrong = wrong + t:get("bad"); size = size + t:get("bytes")
    if t:get("seen") ~= "" then other = t:get("seen") end
  end
  io.write(string.format(
    "RESULT requests=%d seconds=%.4f p50=%.1f p99=%.1f max=%.1f status=%d socket=%d expected=%d unexpected=%d other=%s bytes=%d\n",
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99), latency.max,
    e.status, e.connect + e.read + e.write + e.timeout, good, wrong, other == "" and "none" or other, size))
end
