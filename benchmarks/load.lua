-- Requests for wrk. Arguments: mode (send, noop, open, batch), API key, keys file, first line, lines.
-- Each thread takes every n-th line, so that no key is sent twice; running out shows as 404s, and
-- the harness refuses such a run. There is a thread for each port in PORTS. Requests are put together here: wrk.format costs more than they do.

local count = 0
local threads = {}

local addresses = {}
for port in (os.getenv("PORTS") or ""):gmatch("%d+") do
  addresses[#addresses + 1] = port
end

function setup(thread)
  thread:set("number", count)
  if #addresses > 1 then thread.addr = wrk.lookup("127.0.0.1", addresses[count + 1])[1] end
  count = count + 1
  table.insert(threads, thread)
end

local keys, at, step, head, mode = {}, 1, 1, "", ""
local BATCH = 100

function init(args)
  mode = args[1]
  head = " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " .. args[2] ..
    "\r\nContent-Type: application/json\r\nContent-Length: "
  local first, lines, total = tonumber(args[4] or 0), tonumber(args[5] or 0), tonumber(args[6] or 1)
  if mode == "send" or mode == "batch" then
    local line = 0
    for key in io.lines(args[3]) do
      if line >= first + lines then break end
      if line >= first and (line - first) % total == number then keys[#keys + 1] = key end
      line = line + 1
    end
  end
  math.randomseed(os.time() * 1000 + number + first)
end

local function post(path, body)
  return "POST " .. path .. head .. #body .. "\r\n\r\n" .. body
end

local function payload()
  return '{"approved":true,"by":"ops@example.com","attempt":' .. at .. '}'
end

function request()
  at = at + 1
  if mode == "noop" then
    return post("/bench/noop", '{"payload":' .. payload() .. '}')
  elseif mode == "open" then
    local key = string.format("open:%08x%08x%06d", math.random(0, 2147483647), math.random(0, 2147483647), at)
    return post("/v1/events", '{"event_key":"' .. key .. '","timeout_secs":' .. math.random(86400, 2592000) .. '}')
  elseif mode == "batch" then
    local items = {}
    for item = 1, BATCH do
      local key = keys[(at - 2) * BATCH + item]
      if not key then return post("/bench/out-of-keys", "{}") end
      items[item] = '{"event_key":"' .. key .. '","payload":' .. payload() .. '}'
    end
    return post("/v1/events/batch", '{"events":[' .. table.concat(items, ",") .. ']}')
  end
  local key = keys[at - 1]
  if not key then return post("/bench/out-of-keys", "{}") end
  return post("/v1/events/" .. key .. "/send", '{"payload":' .. payload() .. '}')
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"max_us":%d,"refused":%d,"broken":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
