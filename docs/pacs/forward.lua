-- Forwards every CR and DX instance that Orthanc receives to the node that it knows as "cxrlens".
-- What cxrlens sends back (OT, SR and PR) is not forwarded, so nothing goes round in circles.
local FILMS = {
  ['1.2.840.10008.5.1.4.1.1.1'] = true,      -- Computed Radiography Image Storage
  ['1.2.840.10008.5.1.4.1.1.1.1'] = true,    -- Digital X-Ray, for presentation
  ['1.2.840.10008.5.1.4.1.1.1.1.1'] = true,  -- Digital X-Ray, for processing
}

function OnStoredInstance(instanceId, tags, metadata, origin)
  if FILMS[tags['SOPClassUID']] then
    SendToModality(instanceId, 'cxrlens')
  end
end
