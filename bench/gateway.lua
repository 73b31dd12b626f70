-- gateway.lua: what wrk sends; arguments: token, get or submit.  Prints requests a second, how many
-- answers were not 2xx, and the 99th percentile of the latency in milliseconds.
local kind
local threads = 0

function setup(thread)
   threads = threads + 1
   thread:set("seed", os.time() * 100 + threads)
end

function init(args)
   math.randomseed(seed)
   kind = args[2]
   wrk.headers["Authorization"] = "Bearer " .. args[1]
   wrk.headers["Content-Type"] = "application/json"
end

function request()
   local patient = "P" .. math.random(10000)
   if kind == "get" then
      return wrk.format("GET", "/api/v1/patient/" .. patient)
   end
   return wrk.format("POST", "/api/epro/submit", nil, string.format(
      '{"patientId": "%s", "capturedAt": "2026-02-%02dT%02d:%02d:%02dZ", "instrument": "diary", "reportData": {"systolic": %d, "diastolic": %d, "pulse": %d, "pain": %d, "note": "%s"}}',
      patient, math.random(28), math.random(23), math.random(59), math.random(59), math.random(90, 170), math.random(50, 100), math.random(50, 100), math.random(0, 10),
      "slept badly, took a walk in the morning, and felt better after that; nothing else to report today"))
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format("RESULT %.1f %d %.3f\n", summary.requests / summary.duration * 1e6,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout, latency:percentile(99) / 1000))
end
