-- What the controller has posted, as JSON in shared memory; each worker decodes a document again when its version changed.
local cjson = require "cjson.safe"
local dict = ngx.shared.ingress
local state = {}
local decoded = {}

-- The document's current value. build(document) makes of it what the caller keeps; it runs once a version and worker.
function state.get(name, build)
    local version = dict:get(name .. ".version")
    local known = decoded[name]
    if known and known.version == version then
        return known.value
    end
    local document = cjson.decode(dict:get(name) or "{}")
    if not document then
        return known and known.value or build({})
    end
    known = {version = version, value = build(document)}
    decoded[name] = known
    return known.value
end

local names = {["/configuration/routes"] = "routes", ["/configuration/backends"] = "backends",
               ["/configuration/certificates"] = "certificates"}

-- POST on the control socket.
function state.receive()
    local name = names[ngx.var.uri]
    if not name or ngx.req.get_method() ~= "POST" then
        return ngx.exit(ngx.HTTP_NOT_FOUND)
    end
    ngx.req.read_body()
    local body = ngx.req.get_body_data()
    if not body then
        return ngx.exit(ngx.HTTP_BAD_REQUEST)
    end
    -- safe_set never pushes another document out to make room.
    local ok, err = dict:safe_set(name, body)
    if not ok then
        ngx.log(ngx.ERR, "cannot keep ", name, " (", #body, " bytes): ", err)
        return ngx.exit(ngx.HTTP_INSUFFICIENT_STORAGE)
    end
    dict:incr(name .. ".version", 1, 0)
    ngx.status = ngx.HTTP_NO_CONTENT
end

return state
